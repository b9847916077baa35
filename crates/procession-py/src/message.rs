//! A message as it goes over the wire: its length, big-endian, and its bytes.
//!
//! ```text
//! 4 bytes  length                      up to 2 GiB
//! 4 bytes  -1, 8 bytes  length         larger
//! ```
//!
//! The bytes of an object are its pickle, an ordinary one: that of a simple value is short enough
//! to be written here, and what is long in it is not copied.

use procession_sys::region::Source;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt, PyString};

/// Bytes of a header.
pub(crate) const HEADER: usize = 4;
/// Bytes of a header and the long length behind it.
pub(crate) const LONG_HEADER: usize = 12;

/// The few bytes before the body: the header, the beginning of the pickle.
#[derive(Debug)]
pub(crate) struct Prefix {
    bytes: [u8; Self::MOST],
    len: usize,
}

impl Prefix {
    const MOST: usize = 32;

    /// The header of a message of `len` bytes.
    pub(crate) fn header(len: usize) -> Self {
        let mut prefix = Self {
            bytes: [0; Self::MOST],
            len: 0,
        };
        if let Ok(short) = i32::try_from(len) {
            prefix.push(&short.to_be_bytes());
        } else {
            prefix.push(&(-1_i32).to_be_bytes());
            prefix.push(&(len as u64).to_be_bytes());
        }
        prefix
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    pub(crate) fn source(&self) -> Source<'_> {
        Source::from(&self.bytes[..self.len])
    }
}

/// What a header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Length {
    /// So many bytes follow.
    Of(usize),
    /// The length is in the next eight bytes.
    Long,
    /// No message begins so.
    Bad,
}

impl Length {
    pub(crate) fn of(header: [u8; HEADER]) -> Self {
        match i32::from_be_bytes(header) {
            -1 => Self::Long,
            length => usize::try_from(length).map_or(Self::Bad, Self::Of),
        }
    }

    pub(crate) fn of_long(length: [u8; 8]) -> Self {
        match isize::try_from(u64::from_be_bytes(length)) {
            Ok(length) => Self::Of(length as usize),
            Err(_) => Self::Bad,
        }
    }
}

/// The pickle of a simple value: opcodes, bytes of the value's own, STOP.
#[derive(Debug)]
pub(crate) struct SimplePickle<'a> {
    opcodes: Prefix,
    body: &'a [u8],
}

const PROTOCOL: [u8; 2] = [0x80, 4];
const STOP: &[u8] = b".";

impl<'a> SimplePickle<'a> {
    /// The pickle of None, a bool, an int of 64 bits, a float, a str or bytes; None for all else.
    pub(crate) fn of(obj: &'a Bound<'_, PyAny>) -> Option<Self> {
        let mut opcodes = Prefix {
            bytes: [0; Prefix::MOST],
            len: 0,
        };
        opcodes.push(&PROTOCOL);
        let mut body: &[u8] = &[];
        if let Ok(number) = obj.cast_exact::<PyInt>() {
            push_int(&mut opcodes, number.extract().ok()?);
        } else if let Ok(bytes) = obj.cast_exact::<PyBytes>() {
            body = bytes.as_bytes();
            push_length(&mut opcodes, [b'C', b'B', 0x8e], body.len());
        } else if let Ok(text) = obj.cast_exact::<PyString>() {
            body = text.to_str().ok()?.as_bytes();
            push_length(&mut opcodes, [0x8c, b'X', 0x8d], body.len());
        } else if let Ok(number) = obj.cast_exact::<PyFloat>() {
            opcodes.push(b"G");
            opcodes.push(&number.value().to_be_bytes());
        } else if let Ok(truth) = obj.cast_exact::<PyBool>() {
            opcodes.push(if truth.is_true() { &[0x88] } else { &[0x89] });
        } else if obj.is_none() {
            opcodes.push(b"N");
        } else {
            return None;
        }
        Some(Self { opcodes, body })
    }

    fn len(&self) -> usize {
        self.opcodes.len + self.body.len() + STOP.len()
    }

    /// The header and the opcodes together.
    pub(crate) fn prefix(&self) -> Prefix {
        let mut prefix = Prefix::header(self.len());
        prefix.push(&self.opcodes.bytes[..self.opcodes.len]);
        prefix
    }

    /// What follows.
    pub(crate) fn rest(&self) -> [Source<'_>; 2] {
        [self.body.into(), STOP.into()]
    }
}

fn push_int(opcodes: &mut Prefix, number: i64) {
    if let Ok(byte) = u8::try_from(number) {
        opcodes.push(&[b'K', byte]);
    } else if let Ok(short) = u16::try_from(number) {
        opcodes.push(b"M");
        opcodes.push(&short.to_le_bytes());
    } else if let Ok(int) = i32::try_from(number) {
        opcodes.push(b"J");
        opcodes.push(&int.to_le_bytes());
    } else {
        opcodes.push(&[0x8a, 8]);
        opcodes.push(&number.to_le_bytes());
    }
}

/// The opcode for a length of one byte, of four, of eight; and the length.
fn push_length(opcodes: &mut Prefix, kinds: [u8; 3], length: usize) {
    if let Ok(byte) = u8::try_from(length) {
        opcodes.push(&[kinds[0], byte]);
    } else if let Ok(int) = u32::try_from(length) {
        opcodes.push(&[kinds[1]]);
        opcodes.push(&int.to_le_bytes());
    } else {
        opcodes.push(&[kinds[2]]);
        opcodes.push(&(length as u64).to_le_bytes());
    }
}
