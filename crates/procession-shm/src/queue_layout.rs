//! The layouts of a queue: two sides, a chain of chunks, blocks for what is large.
//!
//! ```text
//! QueueLine   producers | their notes | consumers | their notes | items | room | chunks | acks | bells
//! chunk       header line | message | message | ... | END, next chunk
//! message     word 0: bytes 15..0, blocks 31..16, flags 63..32    word 1: stamp (or who took it)
//!             [word 2: stamp]    blocks: one word each    bytes, padded to 8
//! block       header line | bytes
//! ```
//!
//! What one side writes at every message lies in lines that the other side seldom reads.

use crate::layout::Shared;
use procession_sys::prim::{AtomicU32, AtomicU64};

/// Where a side stands. Two of them, and the commit word says which one is true.
#[repr(C)]
#[derive(Debug)]
pub struct QueueRecord {
    /// Span of the chunk; 0 before the first one.
    pub chunk: AtomicU32,
    /// Where in the chunk the next message begins.
    pub pos: AtomicU32,
    /// The chunk's number in the queue.
    pub chunk_seq: AtomicU32,
    /// The chunk before, which the consumers have left and not yet given back; 0 = none.
    pub retired: AtomicU32,
}

/// One side of a queue: the producers or the consumers.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct QueueSide {
    /// Internal lock.
    pub lock: AtomicU32,
    /// How often the lock was taken over from the dead.
    pub recovered: AtomicU32,
    /// `[63..1 messages so far | 0 which record]`: the word that makes a put or get true.
    pub commit: AtomicU64,
    /// The true record and the next.
    pub records: [QueueRecord; 2],
    /// Journal of a change that moves blocks: the messages when it is true; 0 = none.
    pub journal: AtomicU64,
    /// Who makes that change.
    pub journal_own: AtomicU32,
    /// How many messages it may touch.
    pub journal_count: AtomicU32,
}

/// What a side knows, beside its record.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct QueueNotes {
    /// Messages of the other side when we looked last: a cache.
    pub other_seq: AtomicU64,
    /// Bytes so far (a gauge).
    pub bytes: AtomicU64,
    spare: [AtomicU64; 6],
}

/// Where one side sleeps.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct QueueWake {
    /// `[31..1 epoch | 0 SLEEPERS]`, a futex word.
    pub word: AtomicU32,
    /// How many sleep (a gauge: the killed are counted until the bit goes).
    pub asleep: AtomicU32,
    spare: [AtomicU32; 14],
}

/// What the queue was made for, and whether it goes on; seldom written.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct QueueTerms {
    /// Messages that it may hold; 0 = any number.
    pub maxsize: AtomicU64,
    /// Acknowledging, redelivering.
    pub mode: AtomicU32,
    /// Shut, immediately: one word.
    pub state: AtomicU32,
    /// Producers after whose end the stream ends; 0 = it does not.
    pub expected: AtomicU32,
    /// Producers that have come so far.
    pub come: AtomicU32,
    /// Deliveries after which a message is a dead letter; 0 = never.
    pub max_deliveries: AtomicU32,
    spare: [AtomicU32; 9],
}

/// The ends of the chain; written when a chunk begins or ends.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct QueueChain {
    /// The first chunk; in a queue without acknowledgements it is only true of the first of all.
    pub first: AtomicU32,
    /// An empty chunk for the next need; 0 = none. Set by consumers, taken by producers.
    pub spare: AtomicU32,
    unused: [AtomicU32; 14],
}

/// Acknowledgements. All of it under the consumers' lock.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct QueueAcks {
    /// Messages acknowledged: a cache, rebuilt at a takeover.
    pub done: AtomicU64,
    /// `[31..1 epoch | 0 SLEEPERS]`, a futex word: who waits for the last acknowledgement.
    pub wake: AtomicU32,
    /// Messages given back and waiting for another consumer: a cache.
    pub returned: AtomicU32,
    /// Messages delivered too often: a cache.
    pub letters: AtomicU32,
    /// All before this message has been acknowledged: a cache. Its chunk; 0 = look from the first.
    pub cursor_chunk: AtomicU32,
    /// Where in the chunk.
    pub cursor_pos: AtomicU32,
    /// Journal: the chunk that is being taken out of the chain; 0 = none.
    pub unlinking: AtomicU32,
    /// Its number.
    pub unlinking_seq: AtomicU32,
    /// Pid of the last consumer that died with messages; 0 = unknown or none.
    pub last_dead_pid: AtomicU32,
    spare: [AtomicU32; 6],
}

/// Processes whose doorbell shall be rung at the next item.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct QueueBells {
    /// `[63..32 how often it was armed | 31 RINGING | 29..0 owner, 0 = free]`.
    pub armed: [AtomicU64; 16],
}

/// A queue's body.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct QueueLine {
    /// Who puts.
    pub producers: QueueSide,
    /// Known to producers.
    pub producer_notes: QueueNotes,
    /// Who gets.
    pub consumers: QueueSide,
    /// Known to consumers.
    pub consumer_notes: QueueNotes,
    /// Consumers wait here.
    pub items: QueueWake,
    /// Producers wait here.
    pub room: QueueWake,
    /// Terms and state.
    pub terms: QueueTerms,
    /// First and spare chunk.
    pub chain: QueueChain,
    /// Acknowledgements.
    pub acks: QueueAcks,
    /// Doorbells.
    pub bells: QueueBells,
}

/// The first line of a chunk.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct ChunkHeader {
    /// Offset of the queue.
    pub parent: AtomicU64,
    /// Serial of the queue: with `parent` it tells a sweeper whether the chunk is garbage.
    pub parent_serial: AtomicU64,
    /// The chunk's number in the queue.
    pub seq: AtomicU32,
    /// Messages in it that were taken and not acknowledged: a cache, rebuilt at a takeover.
    pub left: AtomicU32,
    /// Where its END mark is, once producers have left it.
    pub end: AtomicU32,
    spare: [AtomicU32; 9],
}

/// The first line of a block that is sent.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct PayloadHeader {
    /// Offset of the queue that it was put into.
    pub parent: AtomicU64,
    /// Serial of that queue.
    pub parent_serial: AtomicU64,
    /// Bytes that follow.
    pub nbytes: AtomicU64,
    /// How many objects the bytes list, each by its offset and its serial; 0 when they are anything else.
    pub enclosed: AtomicU64,
    spare: [AtomicU64; 4],
}

// SAFETY: repr(C), atomics only, 64-byte aligned, valid for every bit pattern.
unsafe impl Shared for QueueLine {}
// SAFETY: repr(C), atomics only, 64-byte aligned, valid for every bit pattern.
unsafe impl Shared for ChunkHeader {}
// SAFETY: repr(C), atomics only, 64-byte aligned, valid for every bit pattern.
unsafe impl Shared for PayloadHeader {}

#[cfg(not(loom))]
const _: () = {
    use std::mem::{offset_of, size_of};
    assert!(size_of::<QueueRecord>() == 16);
    assert!(size_of::<QueueSide>() == 64 && offset_of!(QueueSide, journal) == 48);
    assert!(size_of::<QueueNotes>() == 64 && size_of::<QueueWake>() == 64);
    assert!(size_of::<QueueTerms>() == 64 && size_of::<QueueChain>() == 64);
    assert!(size_of::<QueueAcks>() == 64 && size_of::<QueueBells>() == 128);
    assert!(size_of::<QueueLine>() == 704);
    assert!(size_of::<ChunkHeader>() == 64 && size_of::<PayloadHeader>() == 64);
};

fn zeros<const N: usize>() -> [AtomicU32; N] {
    std::array::from_fn(|_| AtomicU32::new(0))
}

fn zero() -> AtomicU32 {
    AtomicU32::new(0)
}

fn wide() -> AtomicU64 {
    AtomicU64::new(0)
}

impl ChunkHeader {
    /// The header of a chunk on the heap, for models.
    #[must_use]
    pub fn detached() -> Self {
        Self {
            parent: wide(),
            parent_serial: wide(),
            seq: zero(),
            left: zero(),
            end: zero(),
            spare: zeros(),
        }
    }
}

impl QueueSide {
    fn detached() -> Self {
        let record = || QueueRecord {
            chunk: zero(),
            pos: zero(),
            chunk_seq: zero(),
            retired: zero(),
        };
        Self {
            lock: zero(),
            recovered: zero(),
            commit: wide(),
            records: [record(), record()],
            journal: wide(),
            journal_own: zero(),
            journal_count: zero(),
        }
    }
}

impl QueueLine {
    /// An empty queue on the heap, for models and tests.
    #[must_use]
    pub fn detached() -> Self {
        let notes = || QueueNotes {
            other_seq: wide(),
            bytes: wide(),
            spare: std::array::from_fn(|_| wide()),
        };
        let wake = || QueueWake {
            word: zero(),
            asleep: zero(),
            spare: zeros(),
        };
        Self {
            producers: QueueSide::detached(),
            producer_notes: notes(),
            consumers: QueueSide::detached(),
            consumer_notes: notes(),
            items: wake(),
            room: wake(),
            terms: QueueTerms {
                maxsize: wide(),
                mode: zero(),
                state: zero(),
                expected: zero(),
                come: zero(),
                max_deliveries: zero(),
                spare: zeros(),
            },
            chain: QueueChain {
                first: zero(),
                spare: zero(),
                unused: zeros(),
            },
            acks: QueueAcks {
                done: wide(),
                wake: zero(),
                returned: zero(),
                letters: zero(),
                cursor_chunk: zero(),
                cursor_pos: zero(),
                unlinking: zero(),
                unlinking_seq: zero(),
                last_dead_pid: zero(),
                spare: zeros(),
            },
            bells: QueueBells {
                armed: std::array::from_fn(|_| wide()),
            },
        }
    }
}
