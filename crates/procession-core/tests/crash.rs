//! Kill at every named point of every operation, and then whoever cleans up as well.
//!
//! Each case is a world of its own: a forked process with a fresh arena, two objects that it
//! holds and whose ledger is chained, and a victim that dies at `point` of `operation`. Then
//! the survivor sweeps, nothing may be inconsistent, leaked or left, and everything must
//! still work. In the double faults a second victim dies at each point of its own clean-up.
#![allow(missing_docs)]

use procession_core::lock::{Acquired, Party, SharedLock, Waited, Waiting};
use procession_core::{CRASH_POINTS, Object, ObjectKind, fork, fsck, leave, ledger, sweep};
use procession_shm::layout::{FIRST_SPAN, LockLine};
use procession_shm::local::Holdings;
use procession_shm::member::{Member, Reservation};
use procession_shm::span::SpanState;
use procession_shm::{Arena, OwnerId};
use procession_sys::clock::{Deadline, now_ns};
use procession_sys::prim::Ordering::Acquire;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ended {
    Exited(i32),
    Killed(i32),
}

const HIT: Ended = Ended::Killed(libc::SIGKILL);
const DONE: Ended = Ended::Exited(0);
/// A victim's own child was the one that died.
const CHILD_HIT: Ended = Ended::Exited(77);
/// No case takes longer; who does hangs and is ended by SIGALRM.
const HANG_SECONDS: u32 = 20;

fn spawn(body: impl FnOnce() -> i32) -> i32 {
    // SAFETY: this process has one thread, so the child may run anything.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed");
    if pid != 0 {
        return pid;
    }
    // SAFETY: alarm has no memory effects.
    unsafe { libc::alarm(HANG_SECONDS) };
    let code = std::panic::catch_unwind(AssertUnwindSafe(body)).unwrap_or(101);
    // SAFETY: ends the child without the parent's exit handlers.
    unsafe { libc::_exit(code) }
}

fn wait(pid: i32) -> Ended {
    let mut status = 0;
    // SAFETY: `status` is a live int that the call fills.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(waited, pid);
    if libc::WIFSIGNALED(status) {
        Ended::Killed(libc::WTERMSIG(status))
    } else {
        Ended::Exited(libc::WEXITSTATUS(status))
    }
}

/// From now on this process dies at `point`.
fn die_at(point: &str, count: u32) {
    // SAFETY: this process has one thread.
    unsafe { std::env::set_var("PROCESSION_CRASH", format!("{point}:{count}")) };
}

/// A survivor and what it holds.
struct World {
    member: Member,
    lock: Object,
    /// Held by the survivor and by `others`, more than fit into the header.
    chained: Object,
    others: Vec<Reservation>,
}

impl World {
    fn new() -> Self {
        // SAFETY: this process has one thread.
        unsafe { std::env::set_var("PROCESSION_ARENA", "64M") };
        let arena = Arena::create().unwrap();
        let member = arena.attach(Holdings::default()).unwrap();
        let make = |kind, size| Object::create(member, kind, size, |_| Ok(())).unwrap();
        let lock = make(ObjectKind::Lock, 64);
        let chained = make(ObjectKind::Memory, 100);
        let others: Vec<_> = (0..9).map(|_| arena.reserve().unwrap()).collect();
        for other in &others {
            ledger::add(member, &chained, other.owner).unwrap();
        }
        Self {
            member,
            lock,
            chained,
            others,
        }
    }

    fn arena(&self) -> &'static Arena {
        self.member.arena
    }

    fn line(&self) -> &'static LockLine {
        self.lock.lock_line(self.arena()).unwrap()
    }

    fn chain_of(&self, object: &Object) -> usize {
        ledger::blocks(self.arena(), object.header).count()
    }

    /// Everything is as it was, whoever died.
    fn check(&self) {
        self.member.trim();
        let report = fsck::fsck(self.arena()).unwrap();
        assert!(report.inconsistent.is_empty(), "{:?}", report.inconsistent);
        assert!(report.leaked.is_empty(), "{:?}", report.leaked);
        assert_eq!(report.garbage, 0, "{report:?}");
        assert_eq!(report.objects, 2, "{report:?}");
        let chains = self.chain_of(&self.lock) + self.chain_of(&self.chained);
        assert_eq!(report.blocks, 2 + chains, "{report:?}");
        self.check_holders();
        self.check_spans();
        for index in 0..self.arena().header().slots_used.load(Acquire) as usize {
            let slot = self.arena().slot(index);
            let lives = slot
                .owner(index)
                .is_some_and(|owner| !self.arena().try_is_dead(owner).unwrap());
            assert!(lives || slot.is_clean(), "slot {index} was not swept");
        }
    }

    fn check_holders(&self) {
        let me = self.member.local.owner;
        let mut expected: Vec<OwnerId> = self.others.iter().map(|other| other.owner).collect();
        expected.push(me);
        let mut found: Vec<OwnerId> = ledger::entries(self.arena(), self.chained.header)
            .map(ledger::owner_of)
            .filter(|owner| !owner.is_none())
            .collect();
        let order = |owner: &OwnerId| owner.bits();
        expected.sort_by_key(order);
        found.sort_by_key(order);
        assert_eq!(found, expected, "the holders of the chained object");
        assert_eq!(ledger::holders(self.arena(), self.lock.header), 1);
    }

    fn check_spans(&self) {
        let arena = self.arena();
        let used = arena.header().spans_used.load(Acquire);
        for span in FIRST_SPAN..arena.span_limit() {
            let state = SpanState::of(arena.span_word(span).load(Acquire)).unwrap();
            assert!(
                span < used || state == SpanState::Free,
                "{span} is {state:?}"
            );
            match state {
                // What a clean exit left is for whoever needs that class next.
                SpanState::Free | SpanState::Class(_, OwnerId::NONE) => {}
                SpanState::Class(_, owner) if owner == self.member.local.owner => {
                    let mut blocks = arena.blocks();
                    let filled = blocks.any(|(block, _)| {
                        block.offset / procession_shm::layout::SPAN == u64::from(span)
                    });
                    assert!(filled, "span {span} is empty and was not given back");
                }
                _ => panic!("span {span} is still {state:?}"),
            }
        }
    }

    /// All structures still serve.
    fn use_everything(&self) {
        let member = self.member;
        let made: Vec<Object> = [64, 3000, 32_000, 150_000]
            .into_iter()
            .map(|size| {
                let kind = ObjectKind::Memory;
                Object::create(member, kind, size, |_| Ok(())).unwrap()
            })
            .collect();
        let more: Vec<Reservation> = (0..30).map(|_| self.arena().reserve().unwrap()).collect();
        for other in &more {
            ledger::add(member, &self.lock, other.owner).unwrap();
        }
        for other in &more {
            assert!(!ledger::remove(member, &self.lock, other.owner));
        }
        for object in made {
            object.drop_handle(member);
        }
        let me = party(member);
        let lock = SharedLock::new(self.line());
        let how = acquire(lock, me, self.arena());
        assert!(how.is_some(), "the lock is stuck");
        lock.release(me).unwrap();
        assert!(lock.try_acquire(me), "nobody holds it any more");
        lock.release(me).unwrap();
        drop(more);
        // Reservations that end are deaths like any other.
        sweep::sweep(member).unwrap();
    }

    /// The last handles go: nothing at all may be left.
    fn end(self) {
        drop(self.others);
        sweep::sweep(self.member).unwrap();
        self.lock.drop_handle(self.member);
        self.chained.drop_handle(self.member);
        self.member.trim();
        let report = fsck::fsck(self.member.arena).unwrap();
        let ownerless = |(_, state)| matches!(state, SpanState::Class(_, OwnerId::NONE));
        let kept = self.member.arena.spans().filter(|span| ownerless(*span));
        let spans = report.spans - kept.count();
        let left = (report.objects, report.blocks, spans, report.garbage);
        assert_eq!(left, (0, 0, 0, 0), "{report:?}");
        assert!(report.leaked.is_empty() && report.inconsistent.is_empty());
    }

    /// Forks a victim that is somebody of its own.
    fn victim(&self, point: &str, count: u32, operation: Operation) -> Ended {
        let pid = spawn(|| {
            let arena = self.arena();
            if operation.attaches {
                die_at(point, count);
                let member = fork::member(arena).unwrap();
                return (operation.run)(self, member);
            }
            let member = arena.attach(Holdings::default()).unwrap();
            if let Some(prepare) = operation.prepare {
                prepare(self, member);
            }
            die_at(point, count);
            (operation.run)(self, member)
        });
        wait(pid)
    }
}

fn party(member: Member) -> Party {
    Party {
        owner: member.local.owner,
        thread: procession_sys::process::thread(),
    }
}

fn acquire(lock: SharedLock<'_>, me: Party, arena: &Arena) -> Option<Acquired> {
    if lock.try_acquire(me) {
        return Some(Acquired::Clean);
    }
    let waiting = Waiting::until(Deadline::after_seconds(5.0));
    loop {
        match lock.wait(me, arena, &waiting) {
            Waited::Acquired(how) => return Some(how),
            Waited::Slice => {}
            Waited::TimedOut => return None,
        }
    }
}

#[derive(Clone, Copy)]
struct Operation {
    name: &'static str,
    /// Attaches as its first step, at which it may die as well.
    attaches: bool,
    prepare: Option<fn(&World, Member)>,
    run: fn(&World, Member) -> i32,
}

const fn operation(name: &'static str, run: fn(&World, Member) -> i32) -> Operation {
    Operation {
        name,
        attaches: false,
        prepare: None,
        run,
    }
}

fn create(member: Member, kind: ObjectKind, size: u64) -> Object {
    Object::create(member, kind, size, |_| Ok(())).unwrap()
}

/// An object of the victim's own with more holders than fit into its header.
fn create_chained(member: Member) -> (Object, Vec<Reservation>) {
    // A span of the ledger's class comes first: a sweeper meets the chain before its object.
    create(member, ObjectKind::Memory, 64);
    let object = create(member, ObjectKind::Memory, 200);
    let others: Vec<_> = (0..40).map(|_| member.arena.reserve().unwrap()).collect();
    for other in &others {
        ledger::add(member, &object, other.owner).unwrap();
    }
    (object, others)
}

/// Holds the survivor's objects, adds holders, lets go.
fn touch(world: &World, member: Member) -> i32 {
    for object in [&world.lock, &world.chained] {
        let open = Object::open(member, object.offset, object.serial, |_| true).unwrap();
        let others: Vec<_> = (0..30).map(|_| member.arena.reserve().unwrap()).collect();
        for other in &others {
            ledger::add(member, &open, other.owner).unwrap();
        }
        for other in &others {
            assert!(!ledger::remove(member, &open, other.owner));
        }
        open.drop_handle(member);
    }
    0
}

const OPERATIONS: &[Operation] = &[
    Operation {
        name: "attach",
        attaches: true,
        prepare: None,
        run: |_, _| 0,
    },
    operation("create a block", |_, member| {
        create(member, ObjectKind::Lock, 64);
        0
    }),
    operation("create a run", |_, member| {
        create(member, ObjectKind::Memory, 200_000);
        0
    }),
    operation("create and drop a block", |_, member| {
        create(member, ObjectKind::RLock, 64).drop_handle(member);
        member.trim();
        0
    }),
    operation("create and drop a run", |_, member| {
        create(member, ObjectKind::Memory, 200_000).drop_handle(member);
        0
    }),
    operation("create and drop a chained object", |_, member| {
        let (object, others) = create_chained(member);
        for other in &others {
            assert!(!ledger::remove(member, &object, other.owner));
        }
        object.drop_handle(member);
        0
    }),
    operation("open, extend, remove", touch),
    operation("give memory back", |_, member| {
        create(member, ObjectKind::Memory, 600_000).drop_handle(member);
        assert!(member.give_back(0) > 0);
        0
    }),
    operation("open twice", |_, member| {
        let object = create(member, ObjectKind::Lock, 64);
        let copy = Object::open(member, object.offset, object.serial, |_| true).unwrap();
        object.drop_handle(member);
        copy.drop_handle(member);
        0
    }),
    operation("acquire and release", |world, member| {
        let lock = SharedLock::new(world.line());
        assert_eq!(
            acquire(lock, party(member), member.arena),
            Some(Acquired::Clean)
        );
        lock.release(party(member)).unwrap();
        0
    }),
    Operation {
        name: "take over a lock",
        attaches: false,
        prepare: Some(|world, _| {
            let pid = spawn(|| {
                let member = world.arena().attach(Holdings::default()).unwrap();
                i32::from(!SharedLock::new(world.line()).try_acquire(party(member)))
            });
            assert_eq!(wait(pid), DONE);
        }),
        run: |world, member| {
            let lock = SharedLock::new(world.line());
            let how = acquire(lock, party(member), member.arena);
            assert!(matches!(how, Some(Acquired::Inherited(_))), "{how:?}");
            lock.release(party(member)).unwrap();
            0
        },
    },
    Operation {
        name: "wait for a lock",
        attaches: false,
        prepare: Some(|world, member| {
            // The other thread of a process, in effect: held by ourselves.
            assert!(SharedLock::new(world.line()).try_acquire(party(member)));
        }),
        run: |world, member| {
            let lock = SharedLock::new(world.line());
            let waiting = Waiting::until(Deadline::after_seconds(0.001));
            while lock.wait(party(member), member.arena, &waiting) == Waited::Slice {}
            lock.release(party(member)).unwrap();
            0
        },
    },
    operation("fork", |_, member| {
        let (object, others) = create_chained(member);
        fork::before();
        let pid = spawn(|| {
            fork::in_child();
            let member = fork::member(Arena::current().unwrap()).unwrap();
            assert!(object.is_held(member));
            object.drop_handle(member);
            0
        });
        fork::in_parent();
        let ended = wait(pid);
        drop(others);
        match ended {
            HIT => 77,
            DONE => {
                sweep::reaped(member).unwrap();
                0
            }
            _ => 1,
        }
    }),
    operation("leave", |_, member| {
        let _ = create_chained(member);
        create(member, ObjectKind::Memory, 200_000);
        create(member, ObjectKind::Lock, 64);
        leave::leave();
        0
    }),
    Operation {
        name: "sweep",
        attaches: false,
        prepare: Some(|world, _| {
            for point in ["ledger.linked", "heap.run_tailing", "object.unchaining"] {
                let operation = OPERATIONS[..7].iter().find(|operation| {
                    let other = world.victim(point, 1, **operation);
                    other == HIT
                });
                assert!(operation.is_some(), "nobody died at {point}");
            }
        }),
        run: recover_by_sweep,
    },
];

fn recover_by_sweep(_: &World, member: Member) -> i32 {
    sweep::sweep(member).unwrap();
    member.trim();
    0
}

/// Who cleans up after the first victim and dies at it.
const RECOVERIES: &[Operation] = &[
    operation("sweep", recover_by_sweep),
    operation("open, extend, remove", touch),
];

/// Runs `case` in a world of its own; what it returns must fit into an exit status.
fn in_a_world(case: impl FnOnce(World) -> i32) -> Ended {
    wait(spawn(|| case(World::new())))
}

const MISSED: i32 = 70;

fn survive(world: World) -> i32 {
    sweep::sweep(world.member).unwrap();
    world.check();
    world.use_everything();
    world.check();
    world.end();
    0
}

fn single(operation: Operation, point: &str, count: u32) -> Ended {
    in_a_world(|world| match world.victim(point, count, operation) {
        HIT | CHILD_HIT => survive(world),
        DONE => MISSED,
        other => panic!("the victim ended with {other:?}"),
    })
}

fn double(first: (Operation, &str), second: (Operation, &str)) -> Ended {
    in_a_world(|world| {
        let ended = world.victim(first.1, 1, first.0);
        assert!(matches!(ended, HIT | CHILD_HIT), "it died before");
        match world.victim(second.1, 1, second.0) {
            HIT | CHILD_HIT => survive(world),
            DONE => MISSED,
            other => panic!("the second victim ended with {other:?}"),
        }
    })
}

/// Counts cases and remembers which failed.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: Vec<String>,
}

impl Tally {
    /// True when the point was reached at all.
    fn note(&mut self, ended: Ended, name: impl FnOnce() -> String) -> bool {
        match ended {
            DONE => self.passed += 1,
            Ended::Exited(MISSED) => return false,
            other => {
                let name = name();
                eprintln!("FAILED {name}: {other:?}");
                self.failed.push(name);
            }
        }
        true
    }
}

/// Every repetition of a point in an operation, up to this many.
const REPETITIONS: u32 = 3;

fn singles(tally: &mut Tally) -> Vec<(Operation, &'static str)> {
    let mut hit = Vec::new();
    for operation in OPERATIONS {
        for point in CRASH_POINTS {
            for count in 1..=REPETITIONS {
                let ended = single(*operation, point, count);
                if !tally.note(ended, || format!("{} at {point}:{count}", operation.name)) {
                    break;
                }
                if count == 1 {
                    hit.push((*operation, *point));
                }
            }
        }
    }
    hit
}

fn doubles(tally: &mut Tally, firsts: &[(Operation, &'static str)]) {
    // Which points a recovery passes depends on what it finds: each is tried that any first
    // death makes reachable, the rest is skipped by one look at the whole list.
    for recovery in RECOVERIES {
        for first in firsts {
            for point in CRASH_POINTS
                .iter()
                .filter(|point| may_reach(recovery, point))
            {
                let ended = double(*first, (*recovery, point));
                tally.note(ended, || {
                    let (operation, at) = (first.0.name, first.1);
                    format!("{operation} at {at}, then {} at {point}", recovery.name)
                });
            }
        }
    }
}

fn may_reach(recovery: &Operation, point: &str) -> bool {
    let kinds: &[&str] = match recovery.name {
        "sweep" => &["ilock.", "sweep.", "object.", "heap.freed", "heap.tails"],
        _ => &["ilock.", "ledger.", "heap.taken"],
    };
    kinds.iter().any(|kind| point.starts_with(kind))
}

fn main() -> ExitCode {
    let wish = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let started = now_ns();
    let mut tally = Tally::default();
    // Panics of worlds are told by their exit status; say where they came from as well.
    let firsts = singles(&mut tally);
    let pairs = tally.passed + tally.failed.len();
    println!(
        "{pairs} single deaths at {} (operation, point) pairs",
        firsts.len()
    );
    if wish.as_deref() != Some("single") {
        doubles(&mut tally, &firsts);
        let all = tally.passed + tally.failed.len();
        println!("{} double faults", all - pairs);
    }
    let took = (now_ns() - started) / 1_000_000_000;
    let word = if tally.failed.is_empty() {
        "ok"
    } else {
        "FAILED"
    };
    println!(
        "test result: {word}. {} passed; {} failed; 0 ignored; finished in {took}s",
        tally.passed,
        tally.failed.len()
    );
    ExitCode::from(u8::from(!tally.failed.is_empty()))
}
