//! Results that lie in the arena: objects that a worker makes its parent a holder of, noted on the desk before the record is put down.
//!
//! ```text
//! lend     1 note   2 the parent's entry in the ledger, with this desk's number in it   3 put the record down
//! give up  what is noted, if the parent's entry there is this desk's and nobody has opened it
//! ```
//!
//! Two workers may lend the same object at once, and both note it: the entry is that desk's which made
//! it, under the ledger's lock. The other worker is told so, and its death takes nothing away.

use super::Desk;
use crate::errors::to_python;
use crate::handle::Travelling;
use procession_core::{Object, ledger};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

impl Desk {
    /// What says in a ledger's entry that it was made for this desk.
    fn number(&self) -> u32 {
        (self.handle.object.offset / 64) as u32
    }

    /// The worker's: the parent is a holder of the object from now on, and that is noted at `note`; false when it is one
    /// already. The worker has a handle to it.
    pub(super) fn lend_to_parent(
        &self,
        py: Python<'_>,
        (nonce, offset, serial): Travelling,
        note: usize,
    ) -> PyResult<bool> {
        let member = self.handle.member(py)?;
        if nonce != *member.arena.nonce() {
            return Err(PyValueError::new_err("an object of another arena"));
        }
        let object = Object::find(member.arena, offset, serial);
        let object = &object.map_err(|error| to_python(py, &error))?;
        let Some([place, number]) = self.lines.lent.chunks_exact(2).nth(note) else {
            return Err(PyValueError::new_err(format!("there is no note {note}")));
        };
        let parent = procession_shm::OwnerId::of_word(self.lines.parent.load(Relaxed));
        let is_parent = |entry| ledger::owner_of(entry) == parent;
        if ledger::entries(member.arena, object.header).any(is_parent) {
            return Ok(false);
        }
        // In this order: who settles reads the serial first.
        number.store(0, Relaxed);
        place.store(object.offset, Relaxed);
        number.store(object.serial, Release);
        let added = ledger::lend(member, object, parent, self.number());
        let is_ours = added.map_err(|error| to_python(py, &error))?;
        if !is_ours {
            number.store(0, Relaxed);
        }
        Ok(is_ours)
    }

    /// The parent's, after the worker's death: gives up what was noted and not put down.
    pub(super) fn give_up_lent(&self, py: Python<'_>) -> PyResult<()> {
        let member = self.handle.member(py)?;
        for note in self.lines.lent.chunks_exact(2) {
            let serial = note[1].load(Acquire);
            let offset = note[0].load(Relaxed);
            let Ok(object) = Object::find(member.arena, offset, serial) else {
                continue;
            };
            let is_lent =
                || ledger::is_lent(member.arena, &object, member.local.owner, self.number());
            if serial != 0 && !object.is_held(member) && is_lent() {
                let opened = Object::open(member, offset, serial, |_| true);
                opened
                    .map_err(|error| to_python(py, &error))?
                    .drop_handle(member);
            }
        }
        Ok(())
    }
}
