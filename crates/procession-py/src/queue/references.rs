//! Buffers that are sent as what they lie in, without a copy.
//!
//! ```text
//! born in the arena     the message refers to the Buffer, and sender and receiver share it
//! the same in several   copied once, into a Buffer that each message refers to; receivers map it for
//! messages of one call  themselves: what one writes nobody else sees
//! ```
//!
//! The last block of such a message names the Buffers, and so keeps them while it is on its way; it keeps
//! all other shared objects that the message refers to as well. It says of each buffer of the pickle, in
//! their order, where it is, or nothing if all are in blocks of the message:
//!
//! ```text
//! offset of the Buffer, 0 = the next block of the message | its serial | first byte | bytes * 2 + is_private
//! ```

use super::letter::Letter;
use crate::errors::to_python;
use crate::handle::Handle;
use crate::raw::{Block, Bytes, Lent, Memory, Private};
use procession_core::blob::Named;
use procession_core::object::BODY;
use procession_core::payload::{ClaimedBlock, PreparedBlock, prepare_naming};
use procession_core::{Object, ObjectKind};
use procession_shm::ArenaError;
use procession_shm::member::Member;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::collections::HashMap;

/// The flag of a message whose last block is of references.
pub(super) const REFERS: u32 = 1 << 9;
/// From here on a map of one's own is quicker than a copy.
const WORTH_SHARING: usize = 1 << 20;
const RECORD: usize = 32;

/// Bytes of a Buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reference {
    named: Named,
    from: u64,
    nbytes: u64,
    is_private: bool,
}

impl Reference {
    /// Of bytes that lie in a Buffer which this process holds.
    pub(super) fn of(member: Member, lent: &Lent) -> Option<Self> {
        let (object, from) = Object::lending(member, lent.address(), lent.len() as u64)?;
        Some(Self {
            named: (object.offset, object.serial),
            from,
            nbytes: lent.len() as u64,
            is_private: false,
        })
    }

    fn words(reference: Option<&Self>) -> [u64; 4] {
        reference.map_or([0; 4], |it| {
            let length = it.nbytes << 1 | u64::from(it.is_private);
            [it.named.0, it.named.1, it.from, length]
        })
    }

    fn of_words([offset, serial, from, length]: [u64; 4]) -> Option<Self> {
        (offset != 0).then_some(Self {
            named: (offset, serial),
            from,
            nbytes: length >> 1,
            is_private: length & 1 != 0,
        })
    }

    /// The buffer, as the receiver has it.
    fn open<'py>(&self, py: Python<'py>, member: Member) -> PyResult<Bound<'py, PyAny>> {
        let (offset, serial) = self.named;
        let travelled = (*member.arena.nonce(), offset, serial);
        let handle = Handle::open(py, travelled, |kind| kind == ObjectKind::Buffer)?;
        if self.is_private {
            let private = Private::over(py, handle, self.from, self.nbytes)?;
            Ok(Bound::new(py, private)?.into_any())
        } else {
            let memory = Memory::view(py, handle, BODY + self.from, self.nbytes)?;
            Ok(Bound::new(py, memory)?.into_any())
        }
    }
}

/// The block that names what these refer to, and what else the message keeps; None: nothing.
pub(super) fn prepare(
    member: Member,
    references: &[Option<Reference>],
    kept: impl Iterator<Item = Named>,
) -> Result<Option<PreparedBlock>, ArenaError> {
    let of_buffers = references.iter().flatten().map(|it| it.named);
    let mut names: Vec<Named> = of_buffers.chain(kept).collect();
    if names.is_empty() {
        return Ok(None);
    }
    names.sort_unstable();
    names.dedup();
    let block = prepare_naming(member, (references.len() * RECORD) as u64, &names)?;
    for (index, reference) in references.iter().enumerate() {
        let words = Reference::words(reference.as_ref()).map(u64::to_le_bytes);
        let written = block.write(member, (index * RECORD) as u64, words.as_flattened());
        written.inspect_err(|_| block.discard(member))?;
    }
    Ok(Some(block))
}

/// A block of references that this process has received; it keeps what they refer to until it is dropped.
pub(super) struct Naming {
    claim: ClaimedBlock,
    member: Member,
}

impl Drop for Naming {
    fn drop(&mut self) {
        let now = self.member.arena.known_member();
        if now.is_some_and(|now| now.local.owner == self.member.local.owner) {
            self.claim.free(self.member);
        }
    }
}

impl Naming {
    pub(super) fn of(claim: ClaimedBlock, member: Member) -> Self {
        Self { claim, member }
    }

    /// The message's buffers in the pickle's order; those that lie nowhere else are in `blocks`.
    pub(super) fn buffers<'py>(
        &self,
        py: Python<'py>,
        blocks: Vec<Bound<'py, Block>>,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let length = usize::try_from(self.claim.len())?;
        if length == 0 {
            return Ok(blocks.into_iter().map(Bound::into_any).collect());
        }
        let mut records = vec![0; length];
        let read = self.claim.read(self.member, 0, &mut records);
        read.map_err(|error| to_python(py, &error))?;
        let mut blocks = blocks.into_iter();
        let mut buffers = Vec::with_capacity(length / RECORD);
        for record in records.chunks_exact(RECORD) {
            let mut words = [0; 4];
            for (word, bytes) in words.iter_mut().zip(record.chunks_exact(8)) {
                *word = bytes.try_into().map_or(0, u64::from_le_bytes);
            }
            buffers.push(match Reference::of_words(words) {
                Some(reference) => reference.open(py, self.member)?,
                None => blocks
                    .next()
                    .ok_or_else(|| {
                        PyValueError::new_err("a message refers to blocks that it lacks")
                    })?
                    .into_any(),
            });
        }
        Ok(buffers)
    }
}

/// What several messages of one call have in common, copied once.
#[derive(Default)]
pub(super) struct Common(HashMap<(usize, usize), Handle>);

impl Common {
    /// Copies each large buffer that several of the messages have, and makes them refer to it.
    pub(super) fn of(py: Python<'_>, member: Member, letters: &mut [Letter<'_>]) -> PyResult<Self> {
        let mut counts: HashMap<(usize, usize), usize> = HashMap::new();
        for lent in letters.iter().flat_map(Letter::buffers) {
            if lent.len() >= WORTH_SHARING && Reference::of(member, lent).is_none() {
                *counts.entry((lent.address(), lent.len())).or_default() += 1;
            }
        }
        let mut common = Self::default();
        for letter in letters {
            for index in 0..letter.buffers().len() {
                let lent = &letter.buffers()[index];
                let key = (lent.address(), lent.len());
                if counts.get(&key).is_none_or(|count| *count < 2) {
                    continue;
                }
                let handle = match common.0.entry(key) {
                    std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
                    std::collections::hash_map::Entry::Vacant(entry) => {
                        entry.insert(copied(py, member, lent)?)
                    }
                };
                let reference = Reference {
                    named: (handle.object.offset, handle.object.serial),
                    from: 0,
                    nbytes: lent.len() as u64,
                    is_private: true,
                };
                letter.refer(index, reference);
            }
        }
        Ok(common)
    }
}

fn copied(py: Python<'_>, member: Member, lent: &Lent) -> PyResult<Handle> {
    let length = lent.len() as u64;
    let handle = Handle::create_in(py, member, ObjectKind::Buffer, length)?;
    lent.copy_to(py, &Bytes::of(py, &handle, BODY, length)?);
    Ok(handle)
}
