//! What is put: an encoded object, and blocks for what is large.

use super::references::{self, REFERS, Reference};
use crate::codec::{Encoded, encode};
use crate::errors::to_python;
use crate::raw::{Bytes, Lent};
use procession_core::enclosures::enclose;
use procession_core::payload::{PreparedBlock, prepare};
use procession_core::queue::Message;
use procession_shm::arena::Nonce;
use procession_shm::member::Member;
use pyo3::prelude::*;

/// A body of more bytes goes into a block. The core takes no larger ones into its chunks.
const INLINE_MOST: usize = 32 << 10;
/// The flag of a message whose first block is its body.
pub(super) const BODY_IN_BLOCK: u32 = 1 << 8;
/// The flag of a message whose last block lists what is enclosed.
pub(super) const ENCLOSES: u32 = 1 << 9;

/// An object on its way into a queue. Blocks that are not sent are given back.
pub(super) struct Letter<'py> {
    encoded: Encoded<'py>,
    flags: u32,
    blocks: Vec<PreparedBlock>,
    /// Which buffers lie where others find them; the rest is copied.
    references: Vec<Option<Reference>>,
    by: Option<Member>,
}

impl<'py> Letter<'py> {
    /// A letter to a queue in the arena `nonce`.
    pub(super) fn of(obj: &Bound<'py, PyAny>, nonce: &Nonce) -> PyResult<Self> {
        encode(obj, nonce, Vec::new()).map(Self::with)
    }

    pub(super) fn with(encoded: Encoded<'py>) -> Self {
        Self {
            encoded,
            flags: 0,
            blocks: Vec::new(),
            references: Vec::new(),
            by: None,
        }
    }

    pub(super) fn buffers(&self) -> &[Lent] {
        &self.encoded.buffers
    }

    /// This buffer is sent as what lies elsewhere.
    pub(super) fn refer(&mut self, index: usize, reference: Reference) {
        self.references.resize(self.encoded.buffers.len(), None);
        self.references[index] = Some(reference);
    }

    /// Finds the buffers that lie in the arena already.
    pub(super) fn find_references(&mut self, member: Member) {
        for index in 0..self.encoded.buffers.len() {
            if let Some(reference) = Reference::of(member, &self.encoded.buffers[index]) {
                self.refer(index, reference);
            }
        }
    }

    /// Makes the blocks that it needs, once. A signal handler that forks leaves its child in the
    /// middle of a put: blocks made by the parent are not the child's.
    pub(super) fn prepare(&mut self, py: Python<'_>, member: Member) -> PyResult<()> {
        if self.by.is_some_and(|by| is_same(by, member)) {
            return Ok(());
        }
        self.blocks.clear();
        self.by = Some(member);
        self.flags = self.encoded.format.bits();
        let length = self.encoded.len();
        if length > INLINE_MOST {
            self.flags |= BODY_IN_BLOCK;
            let body = self.block(py, member, length)?;
            self.encoded.copy_to(py, &body);
        } else {
            self.encoded.gather(py)?;
        }
        for index in 0..self.encoded.buffers.len() {
            if let Some(Some(_)) = self.references.get(index) {
                continue;
            }
            let length = self.encoded.buffers[index].len();
            let into = self.block(py, member, length)?;
            self.encoded.buffers[index].copy_to(py, &into);
        }
        if !self.references.is_empty() {
            self.flags |= REFERS;
            let records = references::records(&self.references);
            self.block(py, member, records.len())?.fill(py, 0, &records);
        }
        let of_buffers = self.references.iter().flatten().map(Reference::named);
        let mut named: Vec<_> = self
            .encoded
            .enclosed
            .keys()
            .copied()
            .chain(of_buffers)
            .collect();
        named.sort_unstable();
        named.dedup();
        if !named.is_empty() {
            self.flags |= ENCLOSES;
            let list = enclose(member, &named).map_err(|error| to_python(py, &error))?;
            self.blocks.push(list);
        }
        Ok(())
    }

    fn block(&mut self, py: Python<'_>, member: Member, nbytes: usize) -> PyResult<Bytes> {
        let failed = |error| to_python(py, &error);
        let block = prepare(member, nbytes as u64).map_err(failed)?;
        self.blocks.push(block);
        Bytes::at(member.arena, block.offset(), block.len()).map_err(failed)
    }

    pub(super) fn message(&self) -> Message<'_> {
        let is_inline = self.flags & BODY_IN_BLOCK == 0;
        Message {
            flags: self.flags,
            inline: if is_inline {
                &self.encoded.head[..]
            } else {
                &[]
            },
            blocks: &self.blocks,
        }
    }

    /// It is in the queue.
    pub(super) fn is_sent(&mut self) {
        self.blocks.clear();
    }
}

impl Drop for Letter<'_> {
    fn drop(&mut self) {
        let Some(by) = self.by else { return };
        if by.arena.known_member().is_some_and(|now| is_same(by, now)) {
            for block in self.blocks.drain(..) {
                block.discard(by);
            }
        }
    }
}

fn is_same(one: Member, other: Member) -> bool {
    one.local.owner == other.local.owner
}
