//! What consumers say of what they have got, and waiting until all of it is said.

use super::{Queue, parcel};
use crate::blocking::{Blocking, Patience};
use crate::container::Counter;
use crate::errors::to_python;
use procession_core::acks::Ticket;
use procession_core::deliveries::AllDone;
use procession_core::lock::Waited;
use procession_core::queue::{Got, Queue as Core, Terms};
use procession_shm::member::Member;
use procession_sys::clock::Deadline;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::sync::atomic::Ordering::Relaxed;

/// One item that was got, by which it is acknowledged or given back.
#[pyclass(frozen, module = "procession._native")]
#[derive(Debug)]
pub(crate) struct Delivery(Ticket);

impl Queue {
    /// A get, with what tells this item from all others.
    pub(super) fn get_delivery<'py>(
        slf: &Bound<'py, Self>,
        patience: Patience,
    ) -> PyResult<(Bound<'py, PyAny>, Delivery)> {
        let mut bytes = Vec::new();
        let taken = Self::take(slf, patience, |this, member| {
            Ok(match this.core().try_get(member, &mut bytes)? {
                Got::Message {
                    flags,
                    blocks,
                    deliveries,
                    ticket,
                } => {
                    this.last_delivery.store(deliveries, Relaxed);
                    Ok((flags, blocks, ticket))
                }
                nothing => Err(nothing),
            })
        });
        let (member, (flags, blocks, ticket)) = taken?;
        let object = parcel::open(slf.py(), member, flags, &bytes, blocks)?;
        Ok((object, Delivery(ticket)))
    }

    pub(super) fn acknowledge(&self, py: Python<'_>, delivery: &Delivery) -> PyResult<bool> {
        let member = self.handle.member(py)?;
        Ok(self.core().acknowledge(member, delivery.0))
    }

    pub(super) fn give_back(&self, py: Python<'_>, delivery: &Delivery) -> PyResult<bool> {
        let member = self.handle.member(py)?;
        let bells = self.core().give_back(member, delivery.0);
        let is_back = bells.is_some();
        self.ring(&bells.unwrap_or_default());
        self.move_letters(py, member)?;
        Ok(is_back)
    }

    pub(super) fn finish_oldest(&self, py: Python<'_>) -> PyResult<()> {
        let member = self.handle.member(py)?;
        let done = self.core().task_done(member);
        done.map_err(|_| PyValueError::new_err("task_done() called too many times"))
    }

    /// Waits until everything is acknowledged: None. Some: the pid of a consumer that died with
    /// something that nobody will finish, 0 if it is unknown. No longer than `end` is 0.
    pub(super) fn wait_all_done(
        slf: &Bound<'_, Self>,
        end: Option<&Counter>,
    ) -> PyResult<Option<u32>> {
        let (py, this) = (slf.py(), slf.get());
        let what = "the items of a JoinableQueue";
        let wait = Blocking::new(py, &this.handle, Deadline::NEVER, what);
        loop {
            let member = this.handle.member(py)?;
            this.look_for_dead(py, member)?;
            if end.is_some_and(Counter::has_begun) {
                return Ok(None);
            }
            match wait.sleep(|waiting| this.core().wait_all_done(member, waiting)) {
                AllDone::Done => return Ok(None),
                AllDone::OwnerDied(pid) => return Ok(Some(pid)),
                AllDone::Waited(Waited::Slice) => wait.after_slice()?,
                AllDone::Waited(_) => {}
            }
        }
    }

    /// What the dead had comes back, and what came back too often leaves.
    pub(super) fn look_for_dead(&self, py: Python<'_>, member: Member) -> PyResult<()> {
        self.make_up_for_rings();
        let bells = self.core().look(member);
        self.ring(&bells);
        self.move_letters(py, member)
    }

    /// Dead letters go to the queue for them; if there is none, they are dropped.
    #[inline]
    pub(super) fn move_letters(&self, py: Python<'_>, member: Member) -> PyResult<()> {
        if self.core().letters() == 0 {
            return Ok(());
        }
        self.move_letters_now(py, member)
    }

    #[cold]
    fn move_letters_now(&self, py: Python<'_>, member: Member) -> PyResult<()> {
        let failed = |error| to_python(py, &error);
        if let Some(to) = self.dead_letters.get() {
            let to = to.bind(py).get();
            to.handle.check(py)?;
            let (_, bells) = self
                .core()
                .move_letters(member, to.core())
                .map_err(failed)?;
            to.ring(&bells);
            return Ok(());
        }
        let bin = Core::create_with(member, Terms::default()).map_err(failed)?;
        let moved = bin.body(member.arena).and_then(|line| {
            let bin = Core { object: &bin, line };
            self.core().move_letters(member, bin)
        });
        bin.drop_handle(member);
        moved.map(|_| ()).map_err(failed)
    }
}
