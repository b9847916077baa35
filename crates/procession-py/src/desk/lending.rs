//! Large results: memory that a worker makes its parent a holder of, noted on the desk before the record is put down.

use super::Desk;
use crate::errors::to_python;
use crate::raw::Memory;
use procession_core::{Object, ledger};
use pyo3::prelude::*;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

impl Desk {
    /// The worker's: the parent is a holder of `memory` from now on.
    pub(super) fn lend_to_parent(&self, py: Python<'_>, memory: &Memory) -> PyResult<()> {
        let member = self.handle.member(py)?;
        let object = memory.object();
        // In this order: who settles reads the serial first.
        self.lines.lent[1].store(0, Relaxed);
        self.lines.lent[0].store(object.offset, Relaxed);
        self.lines.lent[1].store(object.serial, Release);
        let parent = procession_shm::OwnerId::of_word(self.lines.parent.load(Relaxed));
        ledger::add(member, object, parent).map_err(|error| to_python(py, &error))
    }

    /// The parent's, after the worker's death: gives up what was noted and not put down.
    pub(super) fn give_up_lent(&self, py: Python<'_>) -> PyResult<()> {
        let member = self.handle.member(py)?;
        let serial = self.lines.lent[1].load(Acquire);
        let offset = self.lines.lent[0].load(Relaxed);
        let Ok(object) = Object::find(member.arena, offset, serial) else {
            return Ok(());
        };
        let mine = |entry| ledger::owner_of(entry) == member.local.owner;
        if serial != 0
            && !object.is_held(member)
            && ledger::entries(member.arena, object.header).any(mine)
        {
            let opened = Object::open(member, offset, serial, |_| true);
            opened
                .map_err(|error| to_python(py, &error))?
                .drop_handle(member);
        }
        Ok(())
    }
}
