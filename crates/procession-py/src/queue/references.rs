//! Buffers that are sent as what they lie in, without a copy.
//!
//! ```text
//! born in the arena     the message refers to the Buffer, and sender and receiver share it
//! the same in several   copied once, into a Buffer that each message refers to; receivers map it for
//! messages of one call  themselves: what one writes nobody else sees
//! ```
//!
//! Such a message encloses the Buffers ([`procession_core::enclosures`]), and has a block of records, the
//! last but for the list of what is enclosed. They say of each buffer of the pickle, in their order, where it is:
//!
//! ```text
//! offset of the Buffer, 0 = the next block of the message | its serial | first byte | bytes * 2 + is_private
//! ```

use super::letter::Letter;
use crate::handle::Handle;
use crate::raw::{Block, Bytes, Lent, Memory, Private};
use procession_core::blob::Named;
use procession_core::object::BODY;
use procession_core::{Object, ObjectKind};
use procession_shm::member::Member;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::collections::HashMap;

/// The flag of a message with a block of records.
pub(super) const REFERS: u32 = 1 << 10;
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

    /// The Buffer.
    pub(super) fn named(&self) -> Named {
        self.named
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

/// What the block of records says.
pub(super) fn records(references: &[Option<Reference>]) -> Vec<u8> {
    let words = references
        .iter()
        .flat_map(|it| Reference::words(it.as_ref()));
    words.flat_map(u64::to_le_bytes).collect()
}

/// The buffers of a message with these records, in the pickle's order; those that lie nowhere else are in
/// `blocks`.
pub(super) fn open<'py>(
    py: Python<'py>,
    member: Member,
    records: &Bound<'py, Block>,
    blocks: Vec<Bound<'py, Block>>,
) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let content = records.get().bytes();
    let mut bytes = vec![0; content.len()];
    content.read(0, &mut bytes);
    let mut blocks = blocks.into_iter();
    let mut buffers = Vec::with_capacity(bytes.len() / RECORD);
    for record in bytes.chunks_exact(RECORD) {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(record.chunks_exact(8)) {
            *word = bytes.try_into().map_or(0, u64::from_le_bytes);
        }
        buffers.push(match Reference::of_words(words) {
            Some(reference) => reference.open(py, member)?,
            None => blocks
                .next()
                .ok_or_else(|| PyValueError::new_err("a message refers to blocks that it lacks"))?
                .into_any(),
        });
    }
    Ok(buffers)
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
