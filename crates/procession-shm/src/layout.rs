//! Every layout of the arena, drawn and asserted where it is declared.
//!
//! All fields are atomics: any bit pattern is a valid value of each, and a stray write by
//! another process is a surprise, not undefined behaviour.

pub use crate::queue_layout::{
    ChunkHeader, PayloadHeader, QueueLine, QueueNotes, QueueRecord, QueueSide, QueueWake,
};
use procession_sys::prim::{AtomicU32, AtomicU64};

/// First bytes of every arena.
pub const MAGIC: u64 = u64::from_le_bytes(*b"processn");
/// Bumps with every change of a layout in this file.
pub const LAYOUT_VERSION: u32 = 4;

/// Bytes of a span, the unit that span words speak of.
pub const SPAN: u64 = 64 << 10;
/// Bytes of an extent, the unit in which memory is really reserved.
pub const EXTENT: u64 = 256 << 10;
/// Bytes of a window, the unit in which a process maps the file when it cannot map it whole.
pub const WINDOW: u64 = 256 << 20;
/// Largest and usual size of an arena in bytes; sparse, so it costs nothing.
pub const MAX_SIZE: u64 = 64 << 30;
/// Smallest size in bytes: the tables and one window's worth would not fit below.
pub const MIN_SIZE: u64 = 32 << 20;
/// Living processes that fit into one arena.
pub const SLOTS: usize = 4094;

/// Where the slots begin.
pub const SLOTS_AT: u64 = 8 << 10;
/// Where the extents' bits begin.
pub const EXTENTS_AT: u64 = 1 << 20;
/// Where the span words begin.
pub const SPAN_WORDS_AT: u64 = 2 << 20;
/// The first span that may be allocated; lower ones would lie over the tables.
pub const FIRST_SPAN: u32 = ((16 << 20) / SPAN) as u32;

/// A type that may be laid over arena memory.
///
/// # Safety
/// The type is `repr(C)`, made of atomics only, at most 64-byte aligned, and valid for every
/// bit pattern.
pub unsafe trait Shared {}

/// The arena's first page.
#[repr(C)]
#[derive(Debug)]
pub struct Header {
    /// [`MAGIC`], stored last: an arena without it is not finished.
    pub magic: AtomicU64,
    /// [`LAYOUT_VERSION`].
    pub layout_version: AtomicU32,
    /// One more than the highest slot that was ever claimed.
    pub slots_used: AtomicU32,
    /// Bytes of the file.
    pub size: AtomicU64,
    /// The arena's name: 128 random bits in two words.
    pub nonce: [AtomicU64; 2],
    /// `st_dev` of the file: a descriptor is ours if both match.
    pub device: AtomicU64,
    /// `st_ino` of the file.
    pub inode: AtomicU64,
    /// Where to look first for a free slot.
    pub slot_hint: AtomicU32,
    /// No span below this one is free (a hint: only speed depends on it).
    pub span_hint: AtomicU32,
    /// Bytes reserved so far (a gauge).
    pub committed: AtomicU64,
    /// Internal lock of whoever sweeps.
    pub sweep_lock: AtomicU32,
    /// One more than the highest span that was ever claimed.
    pub spans_used: AtomicU32,
    /// Things freed by sweeps so far (a gauge).
    pub swept: AtomicU64,
    /// When spans were taken last, in nanoseconds of the monotonic clock.
    pub busy_at: AtomicU64,
}

/// A process's place in the arena. The byte of the file with the slot's number is under an
/// OFD lock exactly as long as the process lives.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Slot {
    /// Bumped by each claim, under the slot's byte lock.
    pub generation: AtomicU32,
    /// The generation that was found dead last: spares the system call.
    pub dead: AtomicU32,
    /// The generation that left cleanly and owns nothing any more.
    pub left: AtomicU32,
    /// The generation up to which everything of this slot's dead has been swept.
    pub swept: AtomicU32,
    /// Pid of the process in its own namespace; 0 until it has attached.
    pub pid: AtomicU32,
    /// Number of the arena's descriptor in that process.
    pub fd: AtomicU32,
    /// When it attached, in nanoseconds since boot: a process of that pid which started later is
    /// another one.
    pub attached_at: AtomicU64,
    /// Inode of its pid namespace; 0 when /proc did not say.
    pub namespace: AtomicU64,
    /// Pid of the process that claimed the slot: who started this one, or this one itself.
    pub claimed_by: AtomicU32,
    spare: [AtomicU32; 5],
}

/// What every object begins with; its body follows in the next line.
///
/// `holders` is the inline part of the ledger of who holds a handle: one store each.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct ObjectHeader {
    /// The object's own number, never used again; 0 while there is no object.
    pub serial: AtomicU64,
    /// Offset of the first [`LedgerBlock`]; 0 when the inline entries suffice.
    pub chain: AtomicU64,
    /// Bytes of the body that the user asked for.
    pub nbytes: AtomicU64,
    /// An `ObjectKind` of the core.
    pub kind: AtomicU32,
    /// Internal lock over the ledger and the pins.
    pub lock: AtomicU32,
    /// Handles that travelled on their own: while not 0 the object lives as long as the arena.
    pub pins: AtomicU32,
    /// Place of the first [`WaiterBlock`] in units of 64 bytes; 0 when nobody ever waited.
    pub waiters: AtomicU32,
    /// `[63..32 units | 31..0 owner]`: who holds a handle, and how much of what the object
    /// lends (permits of a semaphore); 0 = free entry.
    pub holders: [AtomicU64; 3],
}

/// More ledger entries for one object.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct LedgerBlock {
    /// Offset of the object.
    pub parent: AtomicU64,
    /// Serial of the object: with `parent` it tells a sweeper whether the block is garbage.
    pub parent_serial: AtomicU64,
    /// Offset of the next block; 0 at the end.
    pub next: AtomicU64,
    spare: AtomicU64,
    /// As in the header.
    pub holders: [AtomicU64; 12],
}

/// Somebody who waits for a condition or at a barrier.
///
/// `owner` is stored last when an entry is taken and first when it is freed.
#[repr(C)]
#[derive(Debug)]
pub struct Waiter {
    /// Futex word: waiting, notified, broken.
    pub word: AtomicU32,
    /// Who waits; 0 = free entry.
    pub owner: AtomicU32,
    /// Order of arrival; at a barrier the generation above it.
    pub ticket: AtomicU64,
}

/// Entries of waiters. Begins like a [`LedgerBlock`], so that a sweeper need not tell them apart.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct WaiterBlock {
    /// Offset of the object.
    pub parent: AtomicU64,
    /// Serial of the object.
    pub parent_serial: AtomicU64,
    /// Offset of the next block; 0 at the end.
    pub next: AtomicU64,
    spare: AtomicU64,
    /// The entries.
    pub waiters: [Waiter; 6],
}

/// A semaphore. Its value is `total` less the units in the ledger; `value` caches that.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct SemaphoreLine {
    /// Permits that can be acquired now: a cache, rebuilt at a takeover of the lock.
    pub value: AtomicU32,
    /// Permits that exist, lent ones included.
    pub total: AtomicU32,
    /// The value may not grow beyond this.
    pub maximum: AtomicU32,
    /// Signalling, policy: the bits of [`LockLine::flags`].
    pub flags: AtomicU32,
    /// `[31..1 epoch | 0 SLEEPERS]`, a futex word.
    pub wake: AtomicU32,
    /// Journal of a fold: what `total` becomes.
    pub fold_total: AtomicU32,
    /// Journal of a fold: which entry becomes empty, plus one; stored last.
    pub fold_entry: AtomicU32,
    /// How often permits came back from the dead.
    pub recovered: AtomicU32,
    /// Pid of the last dead holder; 0 = unknown or none.
    pub last_dead_pid: AtomicU32,
    /// How often somebody had to wait.
    pub contended: AtomicU32,
    /// How often a permit was acquired.
    pub acquired: AtomicU64,
    /// Nanoseconds waited in all.
    pub waited_ns: AtomicU64,
    /// The part of `recovered` that some process has been told of.
    pub told: AtomicU32,
    spare: AtomicU32,
}

/// An event: `[31..2 epoch | 1 SLEEPERS | 0 FLAG]`. Each set is a new epoch.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct EventLine {
    /// The word.
    pub word: AtomicU32,
    spare: [AtomicU32; 15],
}

/// Whose turn it is to send, or to receive, at one end of a connection:
/// `[31 WAITERS | 30 STREAMING | 29..0 owner]`, 0 = nobody's.
#[repr(C)]
#[derive(Debug)]
pub struct TurnLine {
    /// The word.
    pub word: AtomicU32,
    /// The pid of who left a message half-done, all ones when it is not known; 0 = nobody.
    pub torn_by: AtomicU32,
}

/// One end of a connection.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct EndLine {
    /// Who sends there.
    pub sending: TurnLine,
    /// Who receives there.
    pub receiving: TurnLine,
    spare: [AtomicU32; 12],
}

/// A connection: both ends of a pipe, or the one end that is ours (then the other stays zero).
#[repr(C, align(64))]
#[derive(Debug)]
pub struct ConnectionLine {
    /// The ends.
    pub ends: [EndLine; 2],
}

/// A condition: its waiters are in the object's waiter blocks.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct ConditionLine {
    /// The next waiter's ticket.
    pub tickets: AtomicU64,
    /// How many waits were notified.
    pub notified: AtomicU64,
    spare: [AtomicU64; 6],
}

/// A barrier: its parties are in the object's waiter blocks.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct BarrierLine {
    /// `[31..2 generation | 1..0 state]`, a futex word.
    pub state: AtomicU32,
    /// How many make a generation.
    pub parties: AtomicU32,
    /// Since when, in nanoseconds of the monotonic clock, a dead member has been missed; 0 = none.
    pub missing_since: AtomicU64,
    /// Not 0: more processes than parties use it.
    pub crowd: AtomicU32,
    spare: [AtomicU32; 11],
}

/// A lock and the scalar that it guards, in one cache line.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct LockLine {
    /// `[31 WAITERS][30 spare][29..0 owner]`; 0 = free.
    pub word: AtomicU32,
    /// Recursive, signalling, poisoned, policy.
    pub flags: AtomicU32,
    /// `pthread_self` of the holder, its slot in the upper 12 bits; 0 = free.
    pub thread: AtomicU64,
    /// Depth of a recursive lock, 1 for a held plain one; written by the holder only.
    pub depth: AtomicU32,
    /// How often the lock was taken over from the dead.
    pub recovered: AtomicU32,
    /// Pid of the last dead holder; 0 = unknown or none.
    pub last_dead_pid: AtomicU32,
    /// How often somebody had to wait.
    pub contended: AtomicU32,
    /// How often the lock was acquired (a gauge, written by the holder).
    pub acquired: AtomicU64,
    /// Nanoseconds waited in all (a gauge).
    pub waited_ns: AtomicU64,
    /// Bits of the scalar of a `Value`.
    pub cell: AtomicU64,
    /// Where the holder took it: offset of a text, when the program debugs; else 0.
    pub site: AtomicU64,
}

/// A worker's desk: a ring of tasks in, a ring of results out, and what the worker has begun.
///
/// A line for each who writes, so that nobody waits for a line that the other only reads.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct DeskLines {
    /// Bytes of tasks that the parent has put down, ever. (The parent's line.)
    pub in_tail: AtomicU64,
    /// Bytes of the ring of tasks.
    pub in_size: AtomicU64,
    /// Bytes of the ring of results.
    pub out_size: AtomicU64,
    /// The parent as an owner.
    pub parent: AtomicU32,
    /// What the parent wants to be woken for.
    pub watch: AtomicU32,
    spare0: [AtomicU64; 4],
    /// Bytes of tasks that the worker has taken, ever. (The worker's line.)
    pub in_head: AtomicU64,
    /// Where the worker sleeps without a task.
    pub wake: AtomicU32,
    spare1: [AtomicU32; 13],
    /// Bytes of results that the worker has put down, ever. (The worker's line.)
    pub out_tail: AtomicU64,
    /// What the large result lies in that the worker is about to put down: offset, serial, twice.
    pub lent: [AtomicU64; 4],
    /// `[63..32 milliseconds | 31..0 number]`: a task that it began, and when.
    pub began: AtomicU64,
    /// Nanoseconds that it has spent on messages, ever; and how many tasks it ran in them.
    pub spent: [AtomicU64; 2],
    /// Bytes of results that the parent has taken, ever. (The parent's line.)
    pub out_head: AtomicU64,
    /// Where the worker sleeps without room.
    pub room: AtomicU32,
    /// Where a caller sleeps that waits for its only task's result.
    pub heard: AtomicU32,
    spare3: [AtomicU32; 12],
    /// `[63..32 limit | 31..0 begun]`: tasks that may be begun, tasks that have been. (Both write.)
    pub claims: AtomicU64,
    /// `[32 is one | 31..0 number]`: which task an interrupt is meant for.
    pub target: AtomicU64,
    spare4: [AtomicU64; 6],
}

// SAFETY: repr(C), atomics only, valid for every bit pattern.
unsafe impl Shared for Header {}
// SAFETY: repr(C), atomics only, 64-byte aligned, valid for every bit pattern.
unsafe impl Shared for Slot {}
// SAFETY: repr(C), atomics only, 64-byte aligned, valid for every bit pattern.
unsafe impl Shared for ObjectHeader {}
// SAFETY: repr(C), atomics only, 64-byte aligned, valid for every bit pattern.
unsafe impl Shared for LedgerBlock {}
// SAFETY: repr(C), atomics only, 64-byte aligned, valid for every bit pattern.
unsafe impl Shared for LockLine {}
// SAFETY: repr(C), atomics only, 64-byte aligned, valid for every bit pattern.
unsafe impl Shared for WaiterBlock {}
// SAFETY: repr(C), atomics only, 64-byte aligned, valid for every bit pattern.
unsafe impl Shared for SemaphoreLine {}
// SAFETY: repr(C), atomics only, 64-byte aligned, valid for every bit pattern.
unsafe impl Shared for EventLine {}
// SAFETY: repr(C), atomics only, 64-byte aligned, valid for every bit pattern.
unsafe impl Shared for ConnectionLine {}
// SAFETY: repr(C), atomics only, 64-byte aligned, valid for every bit pattern.
unsafe impl Shared for ConditionLine {}
// SAFETY: repr(C), atomics only, 64-byte aligned, valid for every bit pattern.
unsafe impl Shared for BarrierLine {}
// SAFETY: repr(C), atomics only, 64-byte aligned, valid for every bit pattern.
unsafe impl Shared for DeskLines {}
// SAFETY: one atomic word, valid for every bit pattern.
unsafe impl Shared for AtomicU32 {}
// SAFETY: one atomic word, valid for every bit pattern.
unsafe impl Shared for AtomicU64 {}

#[cfg(not(loom))]
const _: () = {
    use std::mem::{offset_of, size_of};
    assert!(size_of::<Header>() == 96 && offset_of!(Header, sweep_lock) == 72);
    assert!(size_of::<Slot>() == 64 && offset_of!(Slot, attached_at) == 24);
    assert!(size_of::<ObjectHeader>() == 64 && offset_of!(ObjectHeader, holders) == 40);
    assert!(size_of::<LedgerBlock>() == 128 && offset_of!(LedgerBlock, holders) == 32);
    assert!(size_of::<LockLine>() == 64 && offset_of!(LockLine, cell) == 48);
    assert!(size_of::<Waiter>() == 16 && size_of::<WaiterBlock>() == 128);
    assert!(offset_of!(WaiterBlock, parent) == offset_of!(LedgerBlock, parent));
    assert!(offset_of!(WaiterBlock, parent_serial) == offset_of!(LedgerBlock, parent_serial));
    assert!(size_of::<SemaphoreLine>() == 64 && offset_of!(SemaphoreLine, acquired) == 40);
    assert!(size_of::<EventLine>() == 64 && size_of::<ConditionLine>() == 64);
    assert!(size_of::<BarrierLine>() == 64);
    assert!(size_of::<DeskLines>() == 320 && offset_of!(DeskLines, in_head) == 64);
    assert!(offset_of!(DeskLines, out_tail) == 128 && offset_of!(DeskLines, out_head) == 192);
    assert!(offset_of!(DeskLines, claims) == 256);
    assert!(size_of::<EndLine>() == 64 && offset_of!(EndLine, receiving) == 8);
    assert!(size_of::<ConnectionLine>() == 128);
    assert!(SLOTS_AT + SLOTS as u64 * 64 <= EXTENTS_AT);
    assert!(EXTENTS_AT + MAX_SIZE / EXTENT / 8 <= SPAN_WORDS_AT);
    assert!(SPAN_WORDS_AT + MAX_SIZE / SPAN * 8 <= FIRST_SPAN as u64 * SPAN);
    assert!(WINDOW % EXTENT == 0 && EXTENT % SPAN == 0 && MIN_SIZE % EXTENT == 0);
};

impl SemaphoreLine {
    /// A semaphore on the heap, for models and tests.
    #[must_use]
    pub fn detached(permits: u32) -> Self {
        let zero = || AtomicU32::new(0);
        Self {
            value: AtomicU32::new(permits),
            total: AtomicU32::new(permits),
            maximum: AtomicU32::new(u32::MAX >> 1),
            flags: zero(),
            wake: zero(),
            fold_total: zero(),
            fold_entry: zero(),
            recovered: zero(),
            last_dead_pid: zero(),
            contended: zero(),
            acquired: AtomicU64::new(0),
            waited_ns: AtomicU64::new(0),
            told: AtomicU32::new(0),
            spare: AtomicU32::new(0),
        }
    }
}

impl LockLine {
    /// A free lock on the heap, for models and tests.
    #[must_use]
    pub fn detached() -> Self {
        Self {
            word: AtomicU32::new(0),
            flags: AtomicU32::new(0),
            thread: AtomicU64::new(0),
            depth: AtomicU32::new(0),
            recovered: AtomicU32::new(0),
            last_dead_pid: AtomicU32::new(0),
            contended: AtomicU32::new(0),
            acquired: AtomicU64::new(0),
            waited_ns: AtomicU64::new(0),
            cell: AtomicU64::new(0),
            site: AtomicU64::new(0),
        }
    }
}

impl TurnLine {
    /// A turn on the heap, for models and tests.
    #[must_use]
    pub fn detached() -> Self {
        Self {
            word: AtomicU32::new(0),
            torn_by: AtomicU32::new(0),
        }
    }
}
