//! The two sides of a queue under every interleaving that loom finds with few preemptions.
//!
//! The memory is a model: three chunks with room for one large message each, so that every
//! second step crosses, retires and reuses chunks; bytes are cells that loom watches.
#![cfg(loom)]
#![allow(missing_docs)]

mod models;

use loom::sync::Arc;
use models::{Guarded, Oracle, owner, together};
use procession_core::chunk::{self, FIRST, Head, Store};
use procession_core::eventcount;
use procession_core::get::{self, Taking};
use procession_core::ilock::{self, Held};
use procession_core::put::{self, Crossed, Putting};
use procession_core::side::Side;
use procession_shm::layout::{ChunkHeader, QueueLine};
use procession_shm::{ArenaError, OwnerId};
use procession_sys::clock::Deadline;
use procession_sys::futex::Wait;
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::{AcqRel, Acquire, Relaxed, Release};

const CHUNKS: usize = 3;
/// Two of them do not fit into a chunk.
const LARGE: u32 = 32 << 10;

const FREE: u64 = 0;
const ALLOC: u64 = 1 << 32;
const OWNED: u64 = 2 << 32;
const CLAIM: u64 = 3 << 32;

fn by(kind: u64, owner: OwnerId) -> u64 {
    kind | u64::from(owner.bits())
}

struct Chunk {
    state: AtomicU64,
    header: ChunkHeader,
    /// A message's words, a block's, and the END mark.
    words: [AtomicU64; 4],
    bytes: Guarded,
}

struct Shared {
    line: QueueLine,
    /// Numbered from 1.
    chunks: [Chunk; CHUNKS],
    block: AtomicU64,
    live: Oracle,
}

impl Shared {
    fn chunk(&self, chunk: u32) -> &Chunk {
        &self.chunks[chunk as usize - 1]
    }

    fn turn(word: &AtomicU64, from: u64, to: u64) -> bool {
        word.compare_exchange(from, to, AcqRel, Acquire).is_ok()
    }
}

impl Store for Shared {
    fn most(&self) -> usize {
        CHUNKS
    }

    fn word(&self, chunk: u32, at: u32) -> Result<&AtomicU64, ArenaError> {
        let index = match at.checked_sub(FIRST) {
            Some(0) => 0,
            Some(8) => 1,
            Some(16) => 2,
            Some(_) => 3,
            None => panic!("{at} in a chunk's header"),
        };
        Ok(&self.chunk(chunk).words[index])
    }

    fn header(&self, chunk: u32) -> Result<&ChunkHeader, ArenaError> {
        Ok(&self.chunk(chunk).header)
    }

    fn write(&self, chunk: u32, _: u32, bytes: &[u8]) -> Result<(), ArenaError> {
        self.chunk(chunk).bytes.change(|_| u32::from(bytes[0]));
        Ok(())
    }

    fn append_to(
        &self,
        chunk: u32,
        _: u32,
        _: usize,
        into: &mut Vec<u8>,
    ) -> Result<(), ArenaError> {
        into.push(self.chunk(chunk).bytes.read() as u8);
        Ok(())
    }

    fn is_numbered(&self, chunk: u32, seq: u32) -> bool {
        let chunk = self.chunk(chunk);
        chunk.state.load(Acquire) == OWNED && chunk.header.seq.load(Relaxed) == seq
    }

    fn is_numbered_or_new(&self, chunk: u32, seq: u32) -> bool {
        self.chunk(chunk).header.seq.load(Relaxed) == seq
    }

    fn publish(&self, chunk: u32) {
        let state = &self.chunk(chunk).state;
        let seen = state.load(Acquire);
        if seen & CLAIM == ALLOC {
            Self::turn(state, seen, OWNED);
        }
    }

    fn retract(&self, chunk: u32, me: OwnerId) -> bool {
        Self::turn(&self.chunk(chunk).state, OWNED, by(ALLOC, me))
    }

    fn retract_block(&self, _: u64, _: OwnerId) -> bool {
        false
    }

    fn hand_over(&self, _: u64, own: OwnerId) {
        Self::turn(&self.block, by(ALLOC, own), OWNED);
    }

    fn claim(&self, _: u64, me: OwnerId) -> bool {
        loop {
            let seen = self.block.load(Acquire);
            if seen == FREE || seen & CLAIM == CLAIM {
                return false;
            }
            if Self::turn(&self.block, seen, by(CLAIM, me)) {
                return true;
            }
        }
    }

    fn unclaim(&self, _: u64, own: OwnerId) {
        Self::turn(&self.block, by(CLAIM, own), OWNED);
    }
}

fn large() -> Head {
    Head {
        length: LARGE,
        blocks: 0,
        flags: 0,
    }
}

fn with_block() -> Head {
    Head {
        length: LARGE,
        blocks: 1,
        flags: 0,
    }
}

impl Shared {
    fn new(maxsize: u64) -> Arc<Self> {
        let line = QueueLine::detached();
        line.terms.maxsize.store(maxsize, Relaxed);
        Arc::new(Self {
            line,
            chunks: std::array::from_fn(|_| Chunk {
                state: AtomicU64::new(FREE),
                header: ChunkHeader::detached(),
                words: std::array::from_fn(|_| AtomicU64::new(0)),
                bytes: Guarded::new(),
            }),
            block: AtomicU64::new(FREE),
            live: Oracle::new(),
        })
    }

    fn producers(&self, number: usize) -> Held<'_> {
        let word = &self.line.producers.lock;
        ilock::acquire(word, owner(number), &self.live, || {
            put::repair(&self.line, self, 2);
        })
    }

    fn consumers(&self, number: usize, gone: &mut Vec<u64>) -> Held<'_> {
        let word = &self.line.consumers.lock;
        ilock::acquire(word, owner(number), &self.live, || {
            get::repair(&self.line, self, 2, owner(number), gone);
        })
    }

    fn allocate(&self, number: usize) -> u32 {
        let mine = by(ALLOC, owner(number));
        let free = |chunk: &Chunk| Self::turn(&chunk.state, FREE, mine);
        self.chunks.iter().position(free).expect("a free chunk") as u32 + 1
    }

    fn free(&self, gone: &[u64]) {
        for offset in gone {
            let chunk = (*offset / chunk::offset(1)) as u32;
            self.chunk(chunk).state.store(FREE, Release);
        }
    }

    /// One message; false when the queue is full.
    fn try_put(&self, number: usize, value: u8, head: Head) -> bool {
        let mut fresh = None;
        let done = loop {
            let held = self.producers(number);
            let mut putting = Putting::begin(&self.line, self, owner(number), 2, 0);
            if !putting.has_room() {
                break false;
            }
            if !putting.fits(head) {
                match putting.cross(fresh).unwrap() {
                    Crossed::No => {
                        drop(held);
                        fresh = Some(self.allocate(number));
                        continue;
                    }
                    Crossed::IntoFresh => fresh = None,
                    Crossed::IntoSpare => {}
                }
            }
            let blocks = (0..head.blocks).map(|_| 1);
            putting.write(head, &[value], blocks).unwrap();
            putting.commit();
            drop(held);
            break true;
        };
        if let Some(unused) = fresh {
            self.chunk(unused).state.store(FREE, Release);
        }
        if done {
            eventcount::wake(&self.line.items.word, 1);
        }
        done
    }

    fn try_get(&self, number: usize) -> Option<u8> {
        let (mut bytes, mut blocks, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        let held = self.consumers(number, &mut gone);
        let mut taking = Taking::begin(&self.line, self, owner(number));
        let found = taking.has_more();
        if found {
            taking.take(&mut bytes, &mut blocks, &mut gone).unwrap();
            taking.commit(&mut gone);
        }
        drop(held);
        self.free(&gone);
        if found && self.line.terms.maxsize.load(Relaxed) != 0 {
            eventcount::wake(&self.line.room.word, 1);
        }
        bytes.pop()
    }

    fn put(&self, number: usize, value: u8) {
        while !self.try_put(number, value, large()) {
            let word = &self.line.room.word;
            let token = eventcount::prepare(word);
            let full = Side(&self.line.producers).seq() - Side(&self.line.consumers).seq()
                >= self.line.terms.maxsize.load(Relaxed);
            if full {
                sleep(word, token);
            }
        }
    }

    fn get(&self, number: usize) -> u8 {
        loop {
            if let Some(value) = self.try_get(number) {
                return value;
            }
            let word = &self.line.items.word;
            let token = eventcount::prepare(word);
            if Side(&self.line.producers).seq() == Side(&self.line.consumers).seq() {
                sleep(word, token);
            }
        }
    }

    /// No chunk is lost: each is free, or the queue's and in the chain or spare.
    fn check_chunks(&self) {
        let used = self.chunks.iter();
        let used = used.filter(|chunk| chunk.state.load(Relaxed) != FREE);
        let (consumers, producers) = (Side(&self.line.consumers), Side(&self.line.producers));
        let first = self.line.chain.first.load(Relaxed);
        let chain = chunk::chunks(self, first, consumers.place(), producers.place(), 2);
        let spare = usize::from(self.line.chain.spare.load(Relaxed) != 0);
        assert_eq!(used.count(), chain.len() + spare);
    }
}

fn sleep(word: &procession_sys::prim::AtomicU32, token: u32) {
    if eventcount::sleep(word, token, Deadline::NEVER) == Wait::TimedOut {
        loom::thread::yield_now();
    }
}

#[test]
fn messages_come_in_order_and_whole() {
    loom::model(|| {
        let shared = Shared::new(0);
        together(
            &shared,
            vec![
                |s| {
                    s.put(0, 1);
                    s.put(0, 2);
                },
                |s| {
                    assert_eq!(s.get(1), 1);
                    assert_eq!(s.get(1), 2);
                },
            ],
        );
        shared.check_chunks();
    });
}

#[test]
fn the_spare_chunk_is_reused_after_it_was_read() {
    loom::model(|| {
        let shared = Shared::new(0);
        shared.put(0, 1);
        shared.put(0, 2);
        together(
            &shared,
            vec![|s| s.put(0, 3), |s| {
                assert_eq!(s.try_get(1), Some(1));
                assert_eq!(s.try_get(1), Some(2));
            }],
        );
        assert_eq!(shared.try_get(1), Some(3));
        shared.check_chunks();
    });
}

#[test]
fn a_bounded_queue_wakes_who_waits_for_room() {
    loom::model(|| {
        let shared = Shared::new(1);
        shared.put(0, 1);
        together(
            &shared,
            vec![|s| s.put(0, 2), |s| {
                assert_eq!(s.get(1), 1);
                assert_eq!(s.get(1), 2);
            }],
        );
        shared.check_chunks();
    });
}

#[test]
fn two_consumers_share_what_there_is() {
    loom::model(|| {
        let shared = Shared::new(0);
        shared.put(2, 1);
        shared.put(2, 2);
        together(
            &shared,
            vec![
                |s| {
                    s.get(0);
                },
                |s| {
                    s.get(1);
                },
            ],
        );
        assert_eq!(shared.try_get(0), None);
        shared.check_chunks();
    });
}

#[test]
fn two_producers_keep_each_other_out() {
    loom::model(|| {
        let shared = Shared::new(0);
        together(&shared, vec![|s| s.put(0, 1), |s| s.put(1, 2)]);
        let both = [shared.try_get(2), shared.try_get(2)];
        assert!(both == [Some(1), Some(2)] || both == [Some(2), Some(1)]);
        assert_eq!(shared.try_get(2), None);
        shared.check_chunks();
    });
}

#[test]
fn a_block_is_handed_over_while_it_is_claimed() {
    loom::model(|| {
        let shared = Shared::new(0);
        shared.block.store(by(ALLOC, owner(0)), Relaxed);
        together(
            &shared,
            vec![
                |s| {
                    assert!(s.try_put(0, 1, with_block()));
                },
                |s| {
                    assert_eq!(s.get(1), 1);
                },
            ],
        );
        let block = shared.block.load(Relaxed);
        assert_eq!(block, by(CLAIM, owner(1)), "not the receiver's");
    });
}

/// Dies right after the commit of a message with a block, in a fresh chunk.
fn die_after_commit(shared: &Shared) {
    let me = owner(3);
    shared.block.store(by(ALLOC, me), Relaxed);
    let fresh = shared.allocate(3);
    let held = shared.producers(3);
    let mut putting = Putting::begin(&shared.line, shared, me, 2, 0);
    assert_eq!(putting.cross(Some(fresh)).unwrap(), Crossed::IntoFresh);
    putting
        .write(with_block(), &[1], std::iter::once(1))
        .unwrap();
    let side = Side(&shared.line.producers);
    side.0.journal_own.store(me.bits(), Relaxed);
    side.0.journal.store(side.seq() + 1, Release);
    let place = chunk::Place {
        chunk: fresh,
        pos: FIRST + with_block().size(2),
        seq: 1,
    };
    side.commit(1, place, 0);
    std::mem::forget(held);
    shared.live.dies(me);
}

#[test]
fn who_dies_after_the_commit_has_put() {
    loom::model(|| {
        let shared = Shared::new(0);
        together(
            &shared,
            vec![
                |s| {
                    die_after_commit(s);
                    // Whoever puts next finishes the hand-over, while the block is claimed.
                    assert!(s.try_put(0, 2, large()));
                    let block = s.block.load(Acquire);
                    assert_ne!(block & CLAIM, ALLOC, "garbage for a sweeper");
                },
                |s| {
                    assert_eq!(s.get(1), 1);
                },
            ],
        );
        assert_eq!(shared.block.load(Relaxed), by(CLAIM, owner(1)));
        assert_eq!(shared.try_get(1), Some(2));
        shared.check_chunks();
    });
}

#[test]
fn who_dies_before_the_commit_has_not_got() {
    loom::model(|| {
        let shared = Shared::new(0);
        shared.block.store(by(ALLOC, owner(0)), Relaxed);
        assert!(shared.try_put(0, 1, with_block()));
        together(
            &shared,
            vec![
                |s| {
                    let me = owner(3);
                    let held = s.consumers(3, &mut Vec::new());
                    let mut taking = Taking::begin(&s.line, s, me);
                    if taking.has_more() {
                        let (mut bytes, mut blocks) = (Vec::new(), Vec::new());
                        taking
                            .take(&mut bytes, &mut blocks, &mut Vec::new())
                            .unwrap();
                    }
                    std::mem::forget(held);
                    s.live.dies(me);
                },
                |s| {
                    assert_eq!(s.get(1), 1);
                },
            ],
        );
        assert_eq!(shared.block.load(Relaxed), by(CLAIM, owner(1)));
    });
}
