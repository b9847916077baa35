//! One side of a queue: two records and the word that says which is true.
//!
//! The idle record is written, then the commit word is flipped to it. Until the next change the
//! other record says what was true before.

use crate::chunk::Place;
use procession_shm::layout::{QueueRecord, QueueSide};
use procession_sys::prim::Ordering::{Acquire, Relaxed, Release};

/// A side.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a>(pub &'a QueueSide);

impl<'a> Side<'a> {
    /// Messages so far.
    #[inline]
    #[must_use]
    pub fn seq(self) -> u64 {
        // Acquire pairs with the Release of `commit`: the messages counted are complete.
        self.0.commit.load(Acquire) >> 1
    }

    /// The commit word, for who has the side's lock.
    #[inline]
    pub fn word(self) -> u64 {
        self.0.commit.load(Relaxed)
    }

    /// The true record, for who has the side's lock.
    #[inline]
    pub fn record(self) -> &'a QueueRecord {
        &self.0.records[(self.word() & 1) as usize]
    }

    /// Where the side stands.
    #[inline]
    pub fn place(self) -> Place {
        read(self.record())
    }

    /// Where it stood before the last commit, until somebody begins the next.
    pub fn before(self) -> Place {
        read(&self.0.records[(self.word() & 1 ^ 1) as usize])
    }

    /// Steps 5 and 6 of a put, 4 and 5 of a get: `count` messages more, and this is where we stand.
    #[inline]
    pub fn commit(self, count: u64, place: Place, retired: u32) {
        let word = self.word();
        let idle = word & 1 ^ 1;
        let record = &self.0.records[idle as usize];
        record.chunk.store(place.chunk, Relaxed);
        record.pos.store(place.pos, Relaxed);
        record.chunk_seq.store(place.seq, Relaxed);
        record.retired.store(retired, Relaxed);
        procession_sys::crash_point!("queue.recorded");
        // Release pairs with the Acquire of `seq`.
        self.0
            .commit
            .store(((word >> 1) + count) << 1 | idle, Release);
        procession_sys::crash_point!("queue.committed");
    }
}

fn read(record: &QueueRecord) -> Place {
    Place {
        chunk: record.chunk.load(Relaxed),
        pos: record.pos.load(Relaxed),
        seq: record.chunk_seq.load(Relaxed),
    }
}
