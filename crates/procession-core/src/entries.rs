//! The entries of one ledger: who may change them has the object's lock.
//!
//! ```text
//! 63..32 units, or the number of a loan   31..0 owner      a process
//! 63..32 place of a block / 64            31..0 CARRIER    a block that refers to the object
//! 0                                                        free
//! ```
//!
//! Nothing here knows where they lie, so a model of them runs the same code.

use procession_sys::crash_point;
use procession_sys::prim::Ordering::{Acquire, Relaxed, Release};
use procession_sys::prim::{AtomicU32, AtomicU64};

/// The owner part of the entry of a carrier, which is a block: `place of the block << 32 | this`.
/// It is no process's.
const CARRIER: u32 = 2 << 12 | 0xFFF;

/// Carriers of one object that have entries of their own. An object that is in more places at
/// once is one that many messages name, such as the queue for their answers: it is pinned, because
/// a ledger is read from end to end.
pub const MOST_CARRIERS: usize = 4096;

/// The entry of the block at `offset`, which refers to the object.
#[must_use]
pub const fn of_carrier(offset: u64) -> u64 {
    ((offset / 64) << 32) | CARRIER as u64
}

/// Where the block lies that an entry names; None when it names a process or nobody.
#[must_use]
pub fn carrier_of(entry: &AtomicU64) -> Option<u64> {
    let bits = entry.load(Acquire);
    (bits as u32 == CARRIER).then_some((bits >> 32) * 64)
}

/// What an attempt to add a holder brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Added {
    /// The owner holds the object.
    Held,
    /// No entry is free: [`extend`](crate::ledger::extend) the ledger and try again.
    Full,
    /// The object was freed before we had its lock.
    Gone,
}

/// Puts `bits` into the first free one.
pub fn enter<'e>(mut entries: impl Iterator<Item = &'e AtomicU64>, bits: u64) -> Added {
    put_into(entries.find(|entry| entry.load(Relaxed) == 0), bits)
}

fn put_into(free: Option<&AtomicU64>, bits: u64) -> Added {
    match free {
        Some(entry) => {
            entry.store(bits, Release);
            crash_point!("ledger.added");
            Added::Held
        }
        None => Added::Full,
    }
}

/// Enters a carrier once; with too many of them the object is pinned instead.
pub fn enter_carrier<'e>(
    entries: impl Iterator<Item = &'e AtomicU64>,
    pins: &AtomicU32,
    bits: u64,
) -> Added {
    // What is pinned needs no more holders.
    if pins.load(Relaxed) != 0 {
        return Added::Held;
    }
    let (mut carriers, mut free) = (0, None);
    for entry in entries {
        match entry.load(Relaxed) {
            0 => free = free.or(Some(entry)),
            same if same == bits => return Added::Held,
            _ => carriers += usize::from(carrier_of(entry).is_some()),
        }
    }
    if carriers >= MOST_CARRIERS {
        pins.store(1, Release);
        return Added::Held;
    }
    put_into(free, bits)
}

/// Empties the entry of a carrier.
pub fn strike_carrier<'e>(mut entries: impl Iterator<Item = &'e AtomicU64>, bits: u64) {
    if let Some(entry) = entries.find(|entry| entry.load(Relaxed) == bits) {
        entry.store(0, Release);
    }
}

/// Whether nobody is left, and nothing has travelled on its own.
#[must_use]
pub fn are_free<'e>(mut entries: impl Iterator<Item = &'e AtomicU64>, pins: &AtomicU32) -> bool {
    pins.load(Relaxed) == 0 && entries.all(|entry| entry.load(Relaxed) == 0)
}
