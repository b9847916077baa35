//! A block that this process has received, as a writable buffer.

use super::memory::{Bytes, fill_view};
use crate::errors::to_python;
use crate::keepers;
use procession_core::payload::ClaimedBlock;
use procession_shm::member::Member;
use pyo3::ffi;
use pyo3::prelude::*;
use std::ffi::c_int;

/// Bytes that are this process's alone until nobody refers to them.
#[pyclass(frozen, weakref, module = "procession._native")]
#[derive(Debug)]
pub(crate) struct Block {
    bytes: Bytes,
    claim: ClaimedBlock,
    member: Member,
    /// Forks of this process before.
    received: u64,
}

impl Block {
    pub(crate) fn bytes(&self) -> Bytes {
        self.bytes
    }

    /// All of these as Python objects; after an error they are freed.
    pub(crate) fn of_all(
        py: Python<'_>,
        member: Member,
        claims: Vec<ClaimedBlock>,
    ) -> PyResult<Vec<Bound<'_, Self>>> {
        let mut made = Vec::with_capacity(claims.len());
        let mut failed = None;
        for claim in claims {
            let bytes = Bytes::at(member.arena, claim.offset(), claim.len());
            let block = bytes
                .map_err(|error| to_python(py, &error))
                .map(|bytes| Self {
                    bytes,
                    claim,
                    member,
                    received: keepers::forks(),
                });
            match block.and_then(|block| Bound::new(py, block)) {
                Ok(block) => made.push(block),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(made), Err)
    }
}

#[pymethods]
impl Block {
    fn __len__(&self) -> usize {
        self.bytes.len()
    }

    #[expect(clippy::needless_pass_by_value, reason = "the protocol's signature")]
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let bytes = slf.get().bytes;
        // SAFETY: `view` is the interpreter's; the bytes stay mapped for ever, and `slf` keeps them from
        // being allocated anew.
        unsafe { fill_view(&slf, view, flags, bytes.start(), bytes.len(), false) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // A forked copy of this is not the block's owner.
        let now = self.member.arena.known_member();
        if now.is_some_and(|now| now.local.owner == self.member.local.owner) {
            keepers::free(self.claim, self.member, self.received);
        }
    }
}
