//! Queues, and a log of what each victim was doing with them: beyond it nothing may be missing,
//! doubled, torn or out of order.

mod operations;

pub(crate) use operations::{OPERATIONS, RECOVERY, recover};

use procession_core::acks::Ticket;
use procession_core::deliveries::AllDone;
use procession_core::enclosures;
use procession_core::lock::Waiting;
use procession_core::payload::{self, ClaimedBlock};
use procession_core::queue::{Got, Item, Message, Put, Queue, Terms, mode};
use procession_core::{Object, ObjectKind};
use procession_shm::layout::{PayloadHeader, QueueLine, Shared};
use procession_shm::member::Member;
use procession_sys::clock::Deadline;
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::collections::HashSet;

/// How far the victims came with one queue: written before and after each call.
#[repr(C)]
struct Log {
    put_started: AtomicU64,
    put_done: AtomicU64,
    got_started: AtomicU64,
    got_done: AtomicU64,
    acked_started: AtomicU64,
    acked_done: AtomicU64,
    dropped: AtomicU64,
    spare: AtomicU64,
}

// SAFETY: repr(C), atomics only, 8-byte aligned, valid for every bit pattern.
unsafe impl Shared for Log {}

/// The survivor's queues, by what they are for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Which {
    Plain,
    Acknowledged,
    Redelivering,
    /// One delivery, then to the letters.
    Poisoned,
    Letters,
    /// Ends with its only producer.
    Produced,
}

const ALL: [Which; 6] = [
    Which::Plain,
    Which::Acknowledged,
    Which::Redelivering,
    Which::Poisoned,
    Which::Letters,
    Which::Produced,
];
const BOTH: u32 = mode::ACKNOWLEDGING | mode::REDELIVERING;

fn terms(which: Which) -> Terms {
    let (mode, max_deliveries, producers) = match which {
        Which::Plain | Which::Letters => (0, 0, 0),
        Which::Acknowledged => (mode::ACKNOWLEDGING, 0, 0),
        Which::Redelivering => (BOTH, 0, 0),
        Which::Poisoned => (BOTH, 1, 0),
        Which::Produced => (0, 0, 1),
    };
    Terms {
        maxsize: 0,
        mode,
        producers,
        max_deliveries,
    }
}

pub(crate) struct Queues {
    made: Vec<Object>,
    logs: Object,
}

/// What is put: how many bytes in the chunk, and blocks of which sizes.
#[derive(Clone, Copy)]
struct Shape(usize, &'static [u64]);

const SMALL: Shape = Shape(20, &[]);
/// Sixty-four of them fill a chunk.
const LARGE: Shape = Shape(1000, &[]);
const BLOCKS: Shape = Shape(20, &[100, 70_000, OBJECT]);
/// Not a size: the list of an object that nobody else holds.
const OBJECT: u64 = 0;

fn soon() -> Waiting {
    Waiting::until(Deadline::after_seconds(0.001))
}

/// The number of a message and its shape: every byte can be checked.
fn pattern(number: u64, size: usize) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(size.max(8), number as u8);
    bytes
}

fn read(member: Member, bytes: &[u8], blocks: &[ClaimedBlock]) -> u64 {
    let number = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    assert_eq!(bytes, pattern(number, bytes.len()), "torn");
    for block in blocks {
        let mut content = vec![0; block.len() as usize];
        block.read(member, 0, &mut content).unwrap();
        let enclosed = (content.len() == 16).then(|| open_enclosed(member, &content, number));
        if enclosed.is_none() {
            assert_eq!(content, pattern(number, content.len()), "a torn block");
        }
        assert!(block.free(member));
        if let Some(object) = enclosed {
            object.drop_handle(member);
        }
    }
    number
}

/// An object that says the number of its message, held by nobody but this block.
fn enclose_object(member: Member, number: u64) -> payload::PreparedBlock {
    let object = Object::create(member, ObjectKind::Memory, 8, |object| {
        let said: &AtomicU64 = object.body(member.arena)?;
        said.store(number, Relaxed);
        Ok(())
    });
    let object = object.unwrap();
    let list = enclosures::enclose(member, &[(object.offset, object.serial)]).unwrap();
    object.drop_handle(member);
    list
}

fn open_enclosed(member: Member, list: &[u8], number: u64) -> Object {
    let word = |at: usize| u64::from_le_bytes(list[at..at + 8].try_into().unwrap());
    let memory = |kind| kind == ObjectKind::Memory;
    let object = Object::open(member, word(0), word(8), memory).expect("freed too early");
    let said: &AtomicU64 = object.body(member.arena).unwrap();
    assert_eq!(said.load(Relaxed), number);
    object
}

impl Queues {
    pub(crate) fn create(member: Member) -> Self {
        let made = ALL
            .iter()
            .map(|which| Queue::create_with(member, terms(*which)).unwrap())
            .collect();
        let nbytes = (ALL.len() * size_of::<Log>()) as u64;
        let logs = Object::create(member, ObjectKind::Memory, nbytes, |_| Ok(())).unwrap();
        Self { made, logs }
    }

    pub(crate) fn objects(&self) -> impl Iterator<Item = &Object> {
        self.made.iter().chain([&self.logs])
    }

    /// Makes `member` a holder of all.
    fn open(&self, member: Member) {
        for object in self.objects() {
            let _ = Object::open(member, object.offset, object.serial, |_| true).unwrap();
        }
    }

    pub(crate) fn drop_handles(&self, member: Member) {
        for object in self.objects() {
            object.drop_handle(member);
        }
    }

    fn at(&self, member: Member, which: Which) -> At<'_> {
        let object = &self.made[which as usize];
        let line: &QueueLine = object.body(member.arena).unwrap();
        let body = self.logs.offset + procession_core::object::BODY;
        let log = body + (which as usize * size_of::<Log>()) as u64;
        At {
            member,
            queue: Queue { object, line },
            log: member.arena.at(log).unwrap(),
        }
    }

    /// Chunks and blocks that the queues have.
    pub(crate) fn kept(&self, member: Member) -> usize {
        let contents = ALL.iter().map(|which| {
            let (chunks, blocks) = self.at(member, *which).queue.contents(member.arena);
            chunks.len() + blocks.len()
        });
        contents.sum()
    }

    /// Objects that nobody but messages hold.
    pub(crate) fn enclosed(&self, member: Member) -> usize {
        let mut found = HashSet::new();
        for which in ALL {
            for block in self.at(member, which).queue.contents(member.arena).1 {
                let header: &PayloadHeader = member.arena.at(block).unwrap();
                if header.enclosed.load(Acquire) != 0 {
                    let list = block + size_of::<PayloadHeader>() as u64;
                    let words: &[AtomicU64] = member.arena.slice(list, 2).unwrap();
                    found.insert((words[0].load(Relaxed), words[1].load(Relaxed)));
                }
            }
        }
        found.len()
    }

    /// Takes out everything that is left, and holds it against the logs.
    pub(crate) fn check(&self, member: Member) {
        for which in ALL {
            let at = self.at(member, which);
            match which {
                Which::Plain | Which::Produced => at.check_plain(),
                Which::Acknowledged => at.check_acknowledged(),
                Which::Redelivering => at.check_redelivering(),
                Which::Poisoned => at.check_poisoned(self.at(member, Which::Letters)),
                Which::Letters => assert!(at.queue.is_empty()),
            }
        }
    }

    pub(crate) fn use_everything(&self, member: Member) {
        for which in [Which::Plain, Which::Acknowledged, Which::Redelivering] {
            let at = self.at(member, which);
            if at.queue.is_shut() {
                continue;
            }
            at.put_all(130, LARGE);
            at.put_all(2, BLOCKS);
            if which == Which::Plain {
                at.get_all(132);
            } else {
                let waited = at.queue.wait_all_done(member, &soon());
                assert!(matches!(waited, AllDone::Waited(_)), "{waited:?}");
                at.get_all(132);
                at.done(132);
                assert_eq!(at.queue.wait_all_done(member, &soon()), AllDone::Done);
            }
        }
    }
}

/// One queue in the hands of one process.
#[derive(Clone, Copy)]
struct At<'a> {
    member: Member,
    queue: Queue<'a>,
    log: &'static Log,
}

impl At<'_> {
    fn prepare(&self, number: u64, sizes: &[u64]) -> Vec<payload::PreparedBlock> {
        let prepare = |size: &u64| {
            if *size == OBJECT {
                return enclose_object(self.member, number);
            }
            let block = payload::prepare(self.member, *size).unwrap();
            let bytes = pattern(number, *size as usize);
            block.write(self.member, 0, &bytes).unwrap();
            block
        };
        sizes.iter().map(prepare).collect()
    }

    /// Messages are numbered as the queue counts them: who died before its put has put nothing.
    fn resume(&self) {
        let put = self.queue.put_seq();
        let range = self.log.put_done.load(Acquire)..=self.log.put_started.load(Acquire);
        assert!(range.contains(&put), "{put} of {range:?}");
        self.log.put_started.store(put, Release);
        self.log.put_done.store(put, Release);
    }

    /// Puts so many of one shape; false when the queue is shut.
    fn put_all(&self, count: u64, shape: Shape) -> bool {
        for _ in 0..count {
            let number = self.log.put_started.fetch_add(1, AcqRel);
            let (bytes, blocks) = (pattern(number, shape.0), self.prepare(number, shape.1));
            let message = Message {
                flags: 1,
                inline: &bytes,
                blocks: &blocks,
            };
            if self.queue.try_put(self.member, message).unwrap() == Put::Shut {
                self.log.put_started.store(number, Release);
                for block in blocks {
                    block.discard(self.member);
                }
                return false;
            }
            self.log.put_done.fetch_add(1, AcqRel);
        }
        true
    }

    fn put_many(&self, count: u64) {
        let first = self.log.put_started.fetch_add(count, AcqRel);
        let all: Vec<_> = (first..first + count)
            .map(|number| pattern(number, LARGE.0))
            .collect();
        let messages: Vec<_> = all.iter().map(|bytes| Message::of(1, bytes)).collect();
        let (done, put) = self.queue.try_put_many(self.member, &messages).unwrap();
        assert_eq!((done as u64, put), (count, Put::Done));
        self.log.put_done.fetch_add(count, AcqRel);
    }

    fn get(&self) -> Option<(u64, Ticket)> {
        self.log.got_started.fetch_add(1, AcqRel);
        let mut bytes = Vec::new();
        let got = self.queue.try_get(self.member, &mut bytes).unwrap();
        let Got::Message { blocks, ticket, .. } = got else {
            self.log.got_started.fetch_sub(1, AcqRel);
            return None;
        };
        self.log.got_done.fetch_add(1, AcqRel);
        Some((read(self.member, &bytes, &blocks), ticket))
    }

    fn get_all(&self, count: u64) -> Vec<Ticket> {
        (0..count).map(|_| self.get().unwrap().1).collect()
    }

    fn get_many(&self, count: u64) {
        self.log.got_started.fetch_add(count, AcqRel);
        let (mut bytes, mut items) = (Vec::new(), Vec::<Item>::new());
        let most = count as usize;
        let got = self
            .queue
            .try_get_many(self.member, most, &mut bytes, &mut items);
        assert!(got.unwrap().is_none());
        assert_eq!(items.len(), most);
        self.log.got_done.fetch_add(count, AcqRel);
        for item in &items {
            read(self.member, &bytes[item.bytes.clone()], &item.blocks);
        }
    }

    fn done(&self, count: u64) {
        for _ in 0..count {
            self.log.acked_started.fetch_add(1, AcqRel);
            self.queue.task_done(self.member).unwrap();
            self.log.acked_done.fetch_add(1, AcqRel);
        }
    }

    /// Takes what is left; the numbers.
    fn drain(&self) -> Vec<u64> {
        let mut numbers = Vec::new();
        let mut bytes = Vec::new();
        while let Got::Message { blocks, .. } = self.queue.try_get(self.member, &mut bytes).unwrap()
        {
            numbers.push(read(self.member, &bytes, &blocks));
        }
        numbers
    }

    /// How many have been put, by the log and by what was found last.
    fn reset(&self, put: u64, got: u64, acked: u64) {
        for (started, done, value) in [
            (&self.log.put_started, &self.log.put_done, put),
            (&self.log.got_started, &self.log.got_done, got),
            (&self.log.acked_started, &self.log.acked_done, acked),
        ] {
            let range = done.load(Acquire)..=started.load(Acquire);
            assert!(range.contains(&value), "{value} of {range:?}");
            started.store(value, Relaxed);
            done.store(value, Relaxed);
        }
    }

    /// What was put is there, whoever died: from the first one that nobody took to the last.
    fn drain_contiguous(&self) -> (u64, u64) {
        let (put, got) = (self.queue.put_seq(), self.queue.get_seq());
        assert_eq!(self.queue.len(), put - got);
        let numbers = self.drain();
        if self.log.dropped.load(Acquire) == 0 {
            assert_eq!(numbers, (got..put).collect::<Vec<_>>(), "lost or doubled");
        } else {
            assert!(numbers.is_sorted_by(|a, b| a + 1 == *b), "{numbers:?}");
        }
        (put, got)
    }

    fn check_plain(&self) {
        let (put, got) = self.drain_contiguous();
        if self.log.dropped.load(Acquire) == 0 {
            self.reset(put, got, self.log.acked_done.load(Acquire));
        }
        // What we drained is gone.
        self.log.got_started.store(put, Relaxed);
        self.log.got_done.store(put, Relaxed);
    }

    /// Nothing counts as done that nobody has said is done.
    fn check_acknowledged(&self) {
        let unfinished = self.queue.unfinished(self.member);
        let (all, mine) = self.queue.outstanding(self.member);
        assert_eq!(mine, 0);
        let (put, got) = self.drain_contiguous();
        self.reset(put, got, put - unfinished);
        assert_eq!(unfinished, put - got + all);
        if all != 0 {
            let waited = self.queue.wait_all_done(self.member, &soon());
            assert!(matches!(waited, AllDone::OwnerDied(_)), "{waited:?}");
        }
        for _ in 0..unfinished {
            self.queue.task_done(self.member).unwrap();
        }
        assert_eq!(
            self.queue.wait_all_done(self.member, &soon()),
            AllDone::Done
        );
        self.forget(put);
    }

    fn forget(&self, put: u64) {
        for word in [
            &self.log.got_started,
            &self.log.got_done,
            &self.log.acked_started,
            &self.log.acked_done,
        ] {
            word.store(put, Relaxed);
        }
    }

    /// What nobody acknowledged comes again, in order.
    fn check_redelivering(&self) {
        let unfinished = self.queue.unfinished(self.member);
        let put = self.queue.put_seq();
        assert_eq!(self.queue.len(), unfinished, "some are still out");
        let numbers = self.drain();
        let acked = put - unfinished;
        assert_eq!(numbers, (acked..put).collect::<Vec<_>>(), "lost or doubled");
        self.reset(put, self.log.got_done.load(Acquire), acked);
        for _ in 0..unfinished {
            self.queue.task_done(self.member).unwrap();
        }
        assert_eq!(
            self.queue.wait_all_done(self.member, &soon()),
            AllDone::Done
        );
        self.forget(put);
    }

    /// Every message is here or among the letters; one that was being moved may be in both.
    fn check_poisoned(&self, letters: At<'_>) {
        let put = self.queue.put_seq();
        let first = self.log.acked_done.load(Acquire);
        let mut here = self.drain();
        for _ in 0..here.len() {
            self.queue.task_done(self.member).unwrap();
        }
        let (moved, _) = self.queue.move_letters(self.member, letters.queue).unwrap();
        let there = letters.drain();
        assert!(there.len() >= moved);
        assert_eq!(self.queue.unfinished(self.member), 0);
        here.extend(&there);
        let found = here.len();
        here.sort_unstable();
        here.dedup();
        assert_eq!(here, (first..put).collect::<Vec<_>>(), "lost");
        assert!(found <= here.len() + 2, "moved again without a death");
        self.log.put_started.store(put, Relaxed);
        self.log.put_done.store(put, Relaxed);
        self.forget(put);
    }
}
