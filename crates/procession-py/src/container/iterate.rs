//! Iteration over what was in a container at one instant.

use super::{Opening, Shared, keys, values};
use procession_core::snapshot::{Snapshot, What};
use procession_core::table::Place;
use procession_shm::member::Member;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// An iterator over the members that there were. Decodes each when it is asked for.
#[pyclass(frozen, module = "procession._native")]
pub(crate) struct Members {
    snapshot: Snapshot,
    what: What,
    nonce: [u8; 16],
    reverse: bool,
    next: AtomicUsize,
    _held: Vec<Opening>,
}

impl Members {
    pub(super) fn of(
        py: Python<'_>,
        shared: &Shared,
        member: Member,
        what: What,
        reverse: bool,
    ) -> PyResult<Self> {
        let (snapshot, held) = loop {
            let snapshot = shared.container.snapshot(member, what);
            if let Some(held) = open_all(py, shared, member, &snapshot)? {
                break (snapshot, held);
            }
        };
        Ok(Self {
            snapshot,
            what,
            nonce: *shared.nonce(),
            reverse,
            next: AtomicUsize::new(0),
            _held: held,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.snapshot.words.len()
    }

    fn part(&self, index: usize) -> &[u8] {
        let ends = &self.snapshot.ends;
        let start = if index == 0 { 0 } else { ends[index - 1] };
        &self.snapshot.bytes[start..ends[index]]
    }

    pub(super) fn item<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Bound<'py, PyAny>> {
        match self.what {
            What::Keys => keys::decode(py, self.part(index)),
            What::Values => values::decode(py, self.part(index), &self.nonce),
            What::Both => {
                let key = keys::decode(py, self.part(2 * index))?;
                let value = values::decode(py, self.part(2 * index + 1), &self.nonce)?;
                Ok(PyTuple::new(py, [key, value])?.into_any())
            }
        }
    }
}

/// Handles to all that the members refer to; None when one of them is no longer there.
fn open_all(
    py: Python<'_>,
    shared: &Shared,
    member: Member,
    snapshot: &Snapshot,
) -> PyResult<Option<Vec<Opening>>> {
    let mut held = Vec::with_capacity(snapshot.named.len());
    for (index, named) in &snapshot.named {
        let place = Place {
            cell: *index as u64,
            word: snapshot.words[*index],
        };
        match shared.open_named(py, member, place, &[*named])? {
            Some(mut opened) => held.append(&mut opened),
            None => return Ok(None),
        }
    }
    Ok(Some(held))
}

#[pymethods]
impl Members {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let index = self.next.load(Relaxed);
        if index >= self.len() {
            return Ok(None);
        }
        self.next.store(index + 1, Relaxed);
        let index = if self.reverse {
            self.len() - 1 - index
        } else {
            index
        };
        self.item(py, index).map(Some)
    }

    fn __length_hint__(&self) -> usize {
        self.len().saturating_sub(self.next.load(Relaxed))
    }

    /// The members' words, for who plans a change of all of them.
    fn _words(&self) -> Vec<u64> {
        self.snapshot.words.clone()
    }
}

/// The part that a number from Python means.
pub(super) fn what_of(number: u8) -> What {
    match number {
        0 => What::Keys,
        1 => What::Values,
        _ => What::Both,
    }
}
