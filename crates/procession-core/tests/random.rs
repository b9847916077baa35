//! Random sequences against plain models, and random words against the verifier.
#![allow(missing_docs)]

use procession_core::lock::{Acquired, NotReleased, Party, flags};
use procession_core::payload;
use procession_core::queue::{Message, Put, Queue, Terms, mode};
use procession_core::{Object, ObjectKind, SharedLock, fsck, ledger, sweep};
use procession_shm::layout::{EXTENTS_AT, FIRST_SPAN, LockLine, QueueLine, SPAN, SPAN_WORDS_AT};
use procession_shm::local::Holdings;
use procession_shm::member::{Member, Reservation};
use procession_shm::span::{BlockState, Purpose, SpanState};
use procession_shm::{Arena, Liveness, OwnerId};
use procession_sys::limits::ControlGroups;
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::{Acquire, Relaxed};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn new_member() -> Member {
    Arena::create()
        .unwrap()
        .attach(Holdings::default())
        .unwrap()
}

// ---- objects of two members -----------------------------------------------------------------

#[derive(Clone, Debug)]
enum Step {
    Create(u64),
    Open(usize),
    Drop(usize),
    /// The other member holds it, or lets it go.
    Lend(usize),
    TakeBack(usize),
    Pin(usize),
    /// The other member dies, another comes.
    Die,
    Trim,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop_oneof![0..300_u64, 0..40_000_u64, 0..300_000_u64].prop_map(Step::Create),
        3 => any::<usize>().prop_map(Step::Open),
        5 => any::<usize>().prop_map(Step::Drop),
        3 => any::<usize>().prop_map(Step::Lend),
        2 => any::<usize>().prop_map(Step::TakeBack),
        1 => any::<usize>().prop_map(Step::Pin),
        1 => Just(Step::Die),
        1 => Just(Step::Trim),
    ]
}

#[derive(Clone, Debug)]
struct Expected {
    object: Object,
    mine: u32,
    lent: bool,
    pinned: bool,
    content: u64,
}

impl Expected {
    fn lives(&self) -> bool {
        self.mine > 0 || self.lent || self.pinned
    }
}

struct Model {
    member: Member,
    other: Reservation,
    objects: BTreeMap<u64, Expected>,
}

impl Model {
    fn pick(&self, number: usize) -> Option<u64> {
        let keys: Vec<u64> = self.objects.keys().copied().collect();
        (!keys.is_empty()).then(|| keys[number % keys.len()])
    }

    fn word(&self, object: &Object) -> Option<&'static AtomicU64> {
        (object.block.size >= 72).then(|| object.body(self.member.arena).unwrap())
    }

    fn step(&mut self, step: &Step) {
        let member = self.member;
        match *step {
            Step::Create(nbytes) => {
                let kind = ObjectKind::Memory;
                let object = Object::create(member, kind, nbytes.max(8), |_| Ok(())).unwrap();
                let word = self.word(&object).unwrap();
                assert_eq!(word.load(Relaxed), 0, "a body begins zeroed");
                word.store(object.serial, Relaxed);
                let expected = Expected {
                    object,
                    mine: 1,
                    lent: false,
                    pinned: false,
                    content: object.serial,
                };
                let old = self.objects.insert(object.offset, expected);
                assert!(old.is_none(), "a living object's place was given away");
            }
            Step::Open(number) => {
                if let Some(at) = self.pick(number) {
                    let known = self.objects.get_mut(&at).unwrap();
                    Object::open(member, at, known.object.serial, |_| true).unwrap();
                    known.mine += 1;
                }
            }
            Step::Drop(number) => {
                if let Some(at) = self.pick(number) {
                    let known = self.objects.get_mut(&at).unwrap();
                    known.object.drop_handle(member);
                    known.mine = known.mine.saturating_sub(1);
                }
            }
            Step::Lend(number) => {
                if let Some(at) = self.pick(number) {
                    let known = self.objects.get_mut(&at).unwrap();
                    ledger::add(member, &known.object, self.other.owner).unwrap();
                    known.lent = true;
                }
            }
            Step::TakeBack(number) => {
                if let Some(at) = self.pick(number).filter(|at| self.objects[at].mine > 0) {
                    let known = self.objects.get_mut(&at).unwrap();
                    assert!(!ledger::remove(member, &known.object, self.other.owner));
                    known.lent = false;
                }
            }
            Step::Pin(number) => {
                if let Some(at) = self.pick(number) {
                    let known = self.objects.get_mut(&at).unwrap();
                    ledger::pin(member, &known.object);
                    known.pinned = true;
                }
            }
            Step::Die => {
                self.other = member.arena.reserve().unwrap();
                sweep::sweep(member).unwrap();
                for known in self.objects.values_mut() {
                    known.lent = false;
                }
            }
            Step::Trim => member.trim(),
        }
        self.objects.retain(|_, known| known.lives());
    }

    fn check(&self) {
        let report = fsck::fsck(self.member.arena).unwrap();
        assert!(report.inconsistent.is_empty(), "{:?}", report.inconsistent);
        assert!(report.leaked.is_empty(), "{:?}", report.leaked);
        assert_eq!((report.objects, report.garbage), (self.objects.len(), 0));
        let found: Vec<u64> = self
            .member
            .arena
            .blocks()
            .filter(|(_, state)| *state == BlockState::Owned(Purpose::Object))
            .map(|(block, _)| block.offset)
            .collect();
        assert_eq!(found, self.objects.keys().copied().collect::<Vec<_>>());
        for known in self.objects.values() {
            let content = self.word(&known.object).unwrap().load(Relaxed);
            assert_eq!(content, known.content, "somebody else wrote there");
        }
    }
}

// ---- one lock -------------------------------------------------------------------------------

#[derive(Clone, Copy, Debug)]
enum Do {
    Acquire(usize),
    Release(usize),
    TakeOver(usize),
    Die(usize),
    Detach(usize),
    Bury(usize),
}

fn deed() -> impl Strategy<Value = Do> {
    prop_oneof![
        6 => (0..4_usize).prop_map(Do::Acquire),
        5 => (0..4_usize).prop_map(Do::Release),
        3 => (0..4_usize).prop_map(Do::TakeOver),
        1 => (0..4_usize).prop_map(Do::Die),
        1 => (0..4_usize).prop_map(Do::Detach),
        1 => (0..4_usize).prop_map(Do::Bury),
    ]
}

/// Which processes have died; process `n` has the threads of parties `n` and, for 0, also 3.
struct Deaths([bool; 3]);

impl Liveness for Deaths {
    fn is_dead(&self, owner: OwnerId) -> bool {
        owner == OwnerId::DECEASED || owner.slot().is_some_and(|slot| self.0[slot])
    }
}

/// Three processes; parties 0 and 3 are threads of the first.
fn party(number: usize) -> Party {
    Party {
        owner: OwnerId::new(number % 3, 5),
        thread: if number == 3 { 64 } else { 128 },
    }
}

/// A lock as one would write it without words.
#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
struct PlainLock {
    holder: Option<Holder>,
    depth: u32,
    semaphore: bool,
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Holder {
    Party(usize),
    Detached,
    Deceased,
}

fn play(deeds: &[Do], recursive: bool) {
    let line = LockLine::detached();
    line.flags
        .store(if recursive { flags::RECURSIVE } else { 0 }, Relaxed);
    let lock = SharedLock::new(&line);
    let mut plain = PlainLock::default();
    let mut deaths = Deaths([false; 3]);
    for deed in deeds {
        let (Do::Acquire(n)
        | Do::Release(n)
        | Do::TakeOver(n)
        | Do::Die(n)
        | Do::Detach(n)
        | Do::Bury(n)) = *deed;
        let me = party(n);
        let of_dead = match plain.holder {
            Some(Holder::Party(holder)) => deaths.0[holder % 3],
            Some(Holder::Deceased) => true,
            _ => false,
        };
        if deaths.0[n % 3] && !matches!(deed, Do::Bury(_)) {
            continue;
        }
        match deed {
            Do::Acquire(_) => {
                let again = recursive && plain.holder == Some(Holder::Party(n));
                let may = plain.holder.is_none() || again;
                assert_eq!(lock.try_acquire(me), may, "{deed:?} {plain:?}");
                if may {
                    plain.holder = Some(Holder::Party(n));
                    plain.depth += 1;
                }
            }
            Do::Release(_) => {
                let mine = plain.holder == Some(Holder::Party(n));
                let same_process =
                    matches!(plain.holder, Some(Holder::Party(other)) if other % 3 == n % 3);
                let expected = match plain.holder {
                    _ if recursive && !mine => Err(NotReleased::NotMine),
                    None => Err(NotReleased::Free),
                    Some(_) => Ok(()),
                };
                assert_eq!(lock.release(me), expected, "{deed:?} {plain:?}");
                if expected.is_ok() {
                    plain.semaphore |= !same_process;
                    plain.depth -= 1;
                    if plain.depth == 0 {
                        plain.holder = None;
                    }
                }
            }
            Do::TakeOver(_) => {
                let may = of_dead && !plain.semaphore;
                let how = lock.take_over(me, &deaths);
                assert_eq!(how.is_some(), may, "{deed:?} {plain:?}");
                assert_ne!(how, Some(Acquired::Clean));
                if may {
                    plain.holder = Some(Holder::Party(n));
                    plain.depth = 1;
                }
            }
            Do::Die(_) => deaths.0[n % 3] = true,
            Do::Detach(_) => {
                let mine = matches!(plain.holder, Some(Holder::Party(other)) if other % 3 == n % 3);
                assert_eq!(lock.detach(me.owner), mine);
                if mine {
                    plain.holder = Some(Holder::Detached);
                }
            }
            Do::Bury(_) => {
                let mine = matches!(plain.holder, Some(Holder::Party(other)) if other % 3 == n % 3);
                if deaths.0[n % 3] {
                    assert_eq!(lock.bury(me.owner, 9), mine);
                    if mine {
                        let kept = plain.semaphore;
                        plain.holder = Some(if kept {
                            Holder::Detached
                        } else {
                            Holder::Deceased
                        });
                    }
                }
            }
        }
        agree(lock, &plain, recursive, *deed);
    }
}

/// What the lock says of itself is what the plain one is.
fn agree(lock: SharedLock<'_>, plain: &PlainLock, recursive: bool, deed: Do) {
    let owner = match plain.holder {
        None => OwnerId::NONE,
        Some(Holder::Detached) => OwnerId::DETACHED,
        Some(Holder::Deceased) => OwnerId::DECEASED,
        Some(Holder::Party(n)) => party(n).owner,
    };
    assert_eq!(lock.owner(), owner, "after {deed:?}");
    assert_eq!(lock.recovers(), !plain.semaphore);
    // A plain lock does not care which thread holds it.
    for asks in (0..4).filter(|_| recursive) {
        let mine = plain.holder == Some(Holder::Party(asks));
        assert_eq!(lock.is_mine(party(asks)), mine, "{asks} after {deed:?}");
    }
    if recursive && owner.slot().is_some() {
        assert_eq!(lock.depth_of(owner), plain.depth, "after {deed:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 150,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn objects_live_exactly_as_long_as_somebody_holds_them(steps in vec(step(), 1..60)) {
        let member = new_member();
        let other = member.arena.reserve().unwrap();
        let mut model = Model { member, other, objects: BTreeMap::new() };
        for step in &steps {
            model.step(step);
            model.check();
        }
    }

    #[test]
    fn a_lock_does_what_a_plain_one_does(deeds in vec(deed(), 1..40), recursive: bool) {
        play(&deeds, recursive);
    }

    #[test]
    fn owners_survive_their_words(slot in 0..4094_usize, generation: u32, bits: u32) {
        let owner = OwnerId::new(slot, generation);
        prop_assert_eq!(owner.slot(), Some(slot));
        prop_assert!(owner.is_generation(generation));
        prop_assert!(owner.is_generation(generation.wrapping_add(1 << 18)));
        prop_assert!(!owner.is_generation(generation.wrapping_add(1)));
        prop_assert_eq!(OwnerId::of_word(owner.bits() | bits << 30), owner);
        prop_assert!(!owner.is_none() && owner != OwnerId::DETACHED && owner != OwnerId::DECEASED);
    }

    #[test]
    fn every_word_is_understood_or_refused(word: u64) {
        // Never a panic; and what is understood means the same when written again.
        if let Some(state) = SpanState::of(word) {
            prop_assert_eq!(SpanState::of(state.word()), Some(state));
        }
        if let Some(state) = BlockState::of(word) {
            prop_assert_eq!(BlockState::of(state.word()), Some(state));
        }
    }

    #[test]
    fn any_text_of_a_control_group_is_an_answer(
        membership in "([0-9]{0,2}:(memory|cpu,memory|)?:(/[a-z./]{0,12})?\n){0,4}.{0,20}",
        limit in ".{0,12}",
    ) {
        let root = std::env::temp_dir().join(format!("procession-groups-{}", std::process::id()));
        std::fs::create_dir_all(root.join("memory")).unwrap();
        for file in ["memory.max", "memory.current", "cpu.max", "memory/memory.limit_in_bytes"] {
            std::fs::write(root.join(file), &limit).unwrap();
        }
        let groups = ControlGroups::at(root, membership);
        let left = groups.memory_left();
        if limit.trim().parse::<u64>().is_err() {
            prop_assert_eq!(left, None);
        }
        prop_assert!(groups.processors().is_none_or(|processors| processors > 0));
    }
}

// ---- words that no step wrote ---------------------------------------------------------------

/// An arena with one of everything.
fn furnished() -> (Member, Object) {
    let member = new_member();
    let chained = Object::create(member, ObjectKind::Lock, 64, |_| Ok(())).unwrap();
    for _ in 0..16 {
        let other = member.arena.reserve().unwrap();
        ledger::add(member, &chained, other.owner).unwrap();
        std::mem::forget(other);
    }
    for nbytes in [0, 100, 3000, 200_000] {
        Object::create(member, ObjectKind::Memory, nbytes, |_| Ok(())).unwrap();
    }
    for mode in [0, mode::ACKNOWLEDGING | mode::REDELIVERING] {
        furnish_queue(member, mode);
    }
    (member, chained)
}

/// A queue of several chunks and a block, from which something was taken.
fn furnish_queue(member: Member, mode: u32) -> Object {
    let terms = Terms {
        mode,
        ..Terms::default()
    };
    let object = Queue::create_with(member, terms).unwrap();
    let queue = Queue {
        object: &object,
        line: object.body(member.arena).unwrap(),
    };
    let blocks = [payload::prepare(member, 100).unwrap()];
    let message = Message {
        flags: 0,
        inline: &[7; 1000],
        blocks: &[],
    };
    for _ in 0..70 {
        assert_eq!(queue.try_put(member, message).unwrap(), Put::Done);
    }
    let with_block = Message {
        blocks: &blocks,
        ..message
    };
    assert_eq!(queue.try_put(member, with_block).unwrap(), Put::Done);
    for _ in 0..3 {
        let _ = queue.try_get(member, &mut Vec::new()).unwrap();
    }
    object
}

/// One for all cases of a test: each puts back what it spoilt.
fn shared() -> (Member, Object) {
    static SHARED: std::sync::Mutex<Option<(Member, Object)>> = std::sync::Mutex::new(None);
    *SHARED.lock().unwrap().get_or_insert_with(furnished)
}

/// Tests of the shared arena come one after another.
static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Whatever one word says, the verifier comes to an end, without a panic.
    #[test]
    fn a_wild_write_is_survived(which in 0..6_u32, place: u64, value: u64, shift in 0..64_u32) {
        let _one = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (member, chained) = shared();
        let arena = member.arena;
        let used = u64::from(arena.header().spans_used.load(Acquire) - FIRST_SPAN);
        let at = match which {
            0 => 48 + place % 6 * 8,                                        // hints, locks, counts
            1 => 8192 + place % (17 * 8) * 8,                               // slots
            2 => SPAN_WORDS_AT + (u64::from(FIRST_SPAN) + place % used) * 8,
            3 => u64::from(FIRST_SPAN) * SPAN + place % (used * SPAN / 8) * 8,
            4 => chained.offset + place % 8 * 8,
            _ => EXTENTS_AT + place % 16 * 8,
        };
        let word: &AtomicU64 = arena.at(at).unwrap();
        let before = word.load(Relaxed);
        // A bit flipped as often as a word replaced.
        let wild = if value % 2 == 0 { before ^ 1 << shift } else { value };
        word.store(wild, Relaxed);
        let report = fsck::fsck(arena);
        prop_assert!(report.is_ok());
        word.store(before, Relaxed);
        let report = fsck::fsck(arena).unwrap();
        prop_assert!(report.inconsistent.is_empty(), "{:?}", report.inconsistent);
    }

    /// What the tables cannot say is said to be wrong.
    #[test]
    fn a_wild_span_word_is_reported(span in 0..3_u64, value: u64) {
        let _one = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (member, _) = shared();
        let arena = member.arena;
        let at = SPAN_WORDS_AT + (u64::from(FIRST_SPAN) + span) * 8;
        let word: &AtomicU64 = arena.at(at).unwrap();
        if SpanState::of(value).is_none() {
            let before = word.swap(value, Relaxed);
            let report = fsck::fsck(arena).unwrap();
            word.store(before, Relaxed);
            prop_assert!(!report.inconsistent.is_empty());
        }
    }
}

#[test]
fn what_cannot_be_is_reported() {
    type Spoil = fn(Member, &Object);
    let cases: [(&str, Spoil); 12] = [
        ("slots", |member, _| {
            member.arena.header().slots_used.store(u32::MAX, Relaxed);
        }),
        ("spans", |member, _| {
            member.arena.header().spans_used.store(u32::MAX, Relaxed);
        }),
        ("kind", |_, object| object.header.kind.store(99, Relaxed)),
        ("serial", |_, object| object.header.serial.store(0, Relaxed)),
        ("a stranger's entry", |_, object| {
            object.header.holders[1].store(0x123_4FFE, Relaxed);
        }),
        ("a stranger's lock", |_, object| {
            object.header.lock.store(0x123_4FFE, Relaxed);
        }),
        ("a chain to nowhere", |_, object| {
            object.header.chain.store(1 << 60, Relaxed);
        }),
        ("a chain that bites its tail", |member, object| {
            let (block, first) = ledger::blocks(member.arena, object.header).next().unwrap();
            first.next.store(block.offset, Relaxed);
        }),
        ("a chain into another object", |_, object| {
            object.header.chain.store(object.offset, Relaxed);
        }),
        ("a stranger's side of a queue", |member, _| {
            let object = furnish_queue(member, 0);
            let line: &QueueLine = object.body(member.arena).unwrap();
            line.producers.lock.store(0x123_4FFE, Relaxed);
        }),
        ("more taken than put", |member, _| {
            let object = furnish_queue(member, 0);
            let line: &QueueLine = object.body(member.arena).unwrap();
            line.consumers.commit.store(1 << 40, Relaxed);
        }),
        ("two queues with one chunk", |member, _| {
            let objects = [furnish_queue(member, 0), furnish_queue(member, 0)];
            let lines = objects.map(|object| object.body::<QueueLine>(member.arena).unwrap());
            let chunk = lines[0].producers.records[0].chunk.load(Relaxed);
            lines[1].chain.spare.store(chunk, Relaxed);
        }),
    ];
    for (name, spoil) in cases {
        let (member, object) = furnished();
        assert!(fsck::fsck(member.arena).unwrap().inconsistent.is_empty());
        spoil(member, &object);
        let report = fsck::fsck(member.arena).unwrap();
        assert!(!report.inconsistent.is_empty(), "{name}: {report:?}");
    }
}
