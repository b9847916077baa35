//! Layouts of containers: what a dict, a list and what lies in them are in the arena.
//!
//! ```text
//! object   header | lock line | container line
//!                                bank ----> bank header | cells [| index]
//!                                                          cell ----> blob: label, lengths, key, value
//! ```
//!
//! A cell of a dict is a word and its key's hash, a cell of a list is a word. What a word says is
//! drawn in the core (`blob.rs`).

use crate::layout::Shared;
use procession_sys::prim::AtomicU64;

/// The second line of a container's body; the first is its lock's.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct ContainerLine {
    /// Word of the bank; 0 while nothing was ever put in.
    pub bank: AtomicU64,
    /// Members: a cache, counted anew at a takeover of the internal lock.
    pub length: AtomicU64,
    /// Changes begun so far: makes each word another one.
    pub changes: AtomicU64,
    /// Journal: what is being done; stored after the rest of it, 0 before the lock is given back.
    pub change: AtomicU64,
    /// Journal: at which cell, and for a new key in which place of the index.
    pub at: AtomicU64,
    /// Journal: the word that will stand there.
    pub new: AtomicU64,
    /// Journal: the word that stood there.
    pub old: AtomicU64,
    spare: AtomicU64,
}

/// What a bank begins with. The parent is where a ledger block has it, too.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct BankHeader {
    /// Offset of the container.
    pub parent: AtomicU64,
    /// Serial of the container.
    pub parent_serial: AtomicU64,
    /// Cells that are or were used. A list's length; no cell of a dict from here on holds a word.
    pub used: AtomicU64,
    /// No cell of a dict from here on holds a word, or only that of the very last insertion.
    pub tail: AtomicU64,
    spare: [AtomicU64; 4],
}

/// A counter.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct CounterLine {
    /// Its value, a signed number.
    pub value: AtomicU64,
    spare: [AtomicU64; 7],
}

// SAFETY: repr(C), atomics only, 64-byte aligned, valid for every bit pattern.
unsafe impl Shared for CounterLine {}
// SAFETY: repr(C), atomics only, 64-byte aligned, valid for every bit pattern.
unsafe impl Shared for ContainerLine {}
// SAFETY: repr(C), atomics only, 64-byte aligned, valid for every bit pattern.
unsafe impl Shared for BankHeader {}

#[cfg(not(loom))]
const _: () = {
    use std::mem::{offset_of, size_of};
    assert!(size_of::<ContainerLine>() == 64 && offset_of!(ContainerLine, change) == 24);
    assert!(size_of::<CounterLine>() == 64);
    assert!(size_of::<BankHeader>() == 64 && offset_of!(BankHeader, used) == 16);
};
