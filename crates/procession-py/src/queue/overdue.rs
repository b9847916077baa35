//! Errors that are to be raised by a call that comes later: a call that takes many items gives those that
//! it could open, and what is to be said of the others is said next.

use super::{OVERDUE, Queue};
use procession_shm::OwnerId;
use procession_shm::member::Member;
use pyo3::prelude::*;
use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Each with the process that it is meant for: a forked child has a copy of what its parent will hear.
#[derive(Debug, Default)]
pub(super) struct Overdue(Mutex<VecDeque<(OwnerId, PyErr)>>);

impl Overdue {
    /// Never held while Python runs.
    fn locked(&self) -> MutexGuard<'_, VecDeque<(OwnerId, PyErr)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    pub(super) fn keep_overdue(&self, member: Member, errors: Vec<PyErr>) {
        if !errors.is_empty() {
            let me = member.local.owner;
            let mine = errors.into_iter().map(|error| (me, error));
            self.overdue.locked().extend(mine);
            self.attention.fetch_or(OVERDUE, Relaxed);
        }
    }

    /// Raises the first of them, if there are any.
    #[inline]
    pub(super) fn raise_overdue(&self, py: Python<'_>) -> PyResult<()> {
        if self.attention.load(Relaxed) & OVERDUE == 0 {
            return Ok(());
        }
        self.raise_overdue_now(py)
    }

    #[cold]
    fn raise_overdue_now(&self, py: Python<'_>) -> PyResult<()> {
        let me = self.handle.member(py)?.local.owner;
        loop {
            let next = {
                let mut kept = self.overdue.locked();
                let next = kept.pop_front();
                if kept.is_empty() {
                    self.attention.fetch_and(!OVERDUE, Relaxed);
                }
                next
            };
            match next {
                None => return Ok(()),
                Some((whose, error)) if whose == me => return Err(error),
                Some(_) => {}
            }
        }
    }
}
