//! How a Python object becomes the bytes of a message, and an object again.
//!
//! ```text
//! Native   tag, content                       None, bool, int, float, str, bytes, bytearray, tuples of these,
//!                                             and one list or dict of these: written here
//! Pickle   pickle, protocol 5                 everything else, by one C pickler that is used again
//!          + a block for each buffer          from 64 KiB: arrays, whose memory the receiver owns
//! ```
//!
//! Native forms are for exact types only: what an instance of a subclass is, pickle knows. And only
//! one mutable container, holding none: nothing in a message can be the same object twice then,
//! but immutable things, whose identity says nothing.
//!
//! Encoding and decoding call Python; nobody holds a lock of the arena meanwhile. Encoding is
//! complete before a queue is locked, decoding begins after it is free.

mod decode;
mod encode;
mod keys;
mod pickler;

pub(crate) use decode::{decode, decode_block, integer};
pub(crate) use encode::{Encoded, Form, container, encode, encode_pickled, native};

/// What the bytes of a message are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    Native,
    Pickle,
}

impl Format {
    const PICKLE: u32 = 1;

    /// As a message's flags say it.
    pub(crate) fn bits(self) -> u32 {
        match self {
            Self::Native => 0,
            Self::Pickle => Self::PICKLE,
        }
    }

    pub(crate) fn of(flags: u32) -> Self {
        if flags & Self::PICKLE == 0 {
            Self::Native
        } else {
            Self::Pickle
        }
    }
}

/// The first byte of a native form. Integers of one to eight bytes are SHORT plus their length.
mod tag {
    pub(super) const NONE: u8 = 0;
    pub(super) const FALSE: u8 = 1;
    pub(super) const TRUE: u8 = 2;
    pub(super) const FLOAT: u8 = 3;
    pub(super) const INT: u8 = 4;
    pub(super) const STR: u8 = 5;
    pub(super) const BYTES: u8 = 6;
    pub(super) const TUPLE: u8 = 7;
    pub(super) const LIST: u8 = 8;
    pub(super) const DICT: u8 = 9;
    pub(super) const BYTEARRAY: u8 = 10;
    pub(super) const SHORT: u8 = 0x10;
}

/// A tag and a length of six bytes.
const HEAD: usize = 7;
/// Tuples in tuples, at most.
const DEEPEST: usize = 4;
/// A container that grows larger than this natively is pickled: pickle writes what is in it twice
/// only once.
const LARGEST_CONTAINER: usize = 16 << 10;
/// A buffer of this size goes into a block of its own.
pub(crate) const OUT_OF_BAND: usize = 64 << 10;
