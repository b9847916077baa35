//! Records in the rings of a desk: 16 bytes of header and a payload, rounded up to 8.
//!
//! ```text
//! u32 length | u32 kind | u32 number of the (first) task | u32 how many tasks | payload
//! ```

use crate::errors::corrupt;
use crate::raw::Bytes;
use procession_core::ring::Ring;
use pyo3::prelude::*;

const HEADER: u64 = 16;

/// What precedes a payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) length: u32,
    pub(super) kind: u32,
    pub(super) first: u32,
    pub(super) count: u32,
}

impl Header {
    fn encode(self) -> [u8; HEADER as usize] {
        let mut bytes = [0; HEADER as usize];
        for (at, word) in [self.length, self.kind, self.first, self.count]
            .iter()
            .enumerate()
        {
            bytes[at * 4..at * 4 + 4].copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    fn decode(bytes: [u8; HEADER as usize]) -> Self {
        let word = |at: usize| {
            let mut word = [0; 4];
            word.copy_from_slice(&bytes[at * 4..at * 4 + 4]);
            u32::from_le_bytes(word)
        };
        Self {
            length: word(0),
            kind: word(1),
            first: word(2),
            count: word(3),
        }
    }
}

/// Bytes of a ring that a record with so long a payload takes.
pub(super) fn bytes_of(length: usize) -> u64 {
    HEADER + (length as u64).next_multiple_of(8)
}

/// Copies into a ring from position `at` on, around its end.
fn write(bytes: &Bytes, at: u64, data: &[u8]) {
    let at = (at % bytes.len() as u64) as usize;
    let fits = data.len().min(bytes.len() - at);
    bytes.write(at, &data[..fits]);
    bytes.write(0, &data[fits..]);
}

/// Copies out of a ring from position `at` on, around its end.
fn read(bytes: &Bytes, at: u64, data: &mut [u8]) {
    let at = (at % bytes.len() as u64) as usize;
    let fits = data.len().min(bytes.len() - at);
    let (here, there) = data.split_at_mut(fits);
    bytes.read(at, here);
    bytes.read(0, there);
}

/// Puts one record down; it must fit.
pub(super) fn put(ring: Ring<'_>, bytes: &Bytes, header: Header, payload: &[u8]) {
    write(bytes, ring.put_at(), &header.encode());
    write(bytes, ring.put_at().wrapping_add(HEADER), payload);
    ring.commit(bytes_of(payload.len()));
}

/// The next record's header, if there is one; a ring that makes no sense is an error.
pub(super) fn peek(ring: Ring<'_>, bytes: &Bytes) -> PyResult<Option<Header>> {
    let filled = ring.filled();
    if filled == 0 {
        return Ok(None);
    }
    let mut head = [0; HEADER as usize];
    read(bytes, ring.take_at(), &mut head);
    let header = Header::decode(head);
    if filled > ring.size || bytes_of(header.length as usize) > filled {
        return Err(corrupt("a record longer than what was written"));
    }
    Ok(Some(header))
}

/// Copies the payload of the next record, whose header this is, and frees it.
pub(super) fn take(ring: Ring<'_>, bytes: &Bytes, header: Header, into: &mut Vec<u8>) {
    into.resize(header.length as usize, 0);
    read(bytes, ring.take_at().wrapping_add(HEADER), into);
    ring.free(bytes_of(into.len()));
}
