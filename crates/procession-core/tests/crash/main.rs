//! Kill at every named point of every operation, and then whoever cleans up as well.
//!
//! Each case is a world of its own: a forked process with a fresh arena, objects of each kind
//! that it holds, one of them with a chained ledger, and a victim that dies at `point` of `operation`. Then
//! the survivor sweeps, nothing may be inconsistent, leaked or left, and everything must
//! still work. In the double faults a second victim dies at each point of its own clean-up.
#![allow(missing_docs)]

#[path = "../common/lanes.rs"]
mod lanes;
mod queues;
mod shared;
#[path = "../common/victims.rs"]
mod victims;
mod world;

use procession_core::lock::{Acquired, Party, SharedLock, Waited, Waiting};
use procession_core::{CRASH_POINTS, Object, ObjectKind, fork, leave, ledger, sweep};
use procession_shm::Arena;
use procession_shm::local::Holdings;
use procession_shm::member::{Member, Reservation};
use procession_sys::clock::Deadline;
use std::process::ExitCode;
use victims::{DONE, Ended, HIT, MISSED, Tally, in_a_process, spawn, wait};
use world::World;

/// A victim's own child was the one that died.
const CHILD_HIT: Ended = Ended::Exited(77);

/// How one more child ended, orphans that came to us included; None when there is none.
fn wait_any() -> Option<Ended> {
    let mut status = 0;
    // SAFETY: `status` is a live int that the call fills.
    let waited = unsafe { libc::waitpid(-1, &raw mut status, 0) };
    (waited > 0).then(|| Ended::by(status))
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

/// An operation that is prepared before the victim may die.
const fn prepared(
    name: &'static str,
    prepare: fn(&World, Member),
    run: fn(&World, Member) -> i32,
) -> Operation {
    Operation {
        name,
        attaches: false,
        prepare: Some(prepare),
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
    operation(shared::RECOVERY, shared::recover),
    operation(queues::RECOVERY, queues::recover),
];

/// Runs `case` in a world of its own; what it returns must fit into an exit status.
fn in_a_world(case: impl FnOnce(World) -> i32) -> Ended {
    in_a_process(|| case(World::new()))
}

fn survive(world: World) -> i32 {
    // Whom the victim has left behind ends first.
    while let Some(ended) = wait_any() {
        assert!(
            matches!(ended, DONE | HIT),
            "a child of the victim's {ended:?}"
        );
    }
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

/// An operation with a partner may go another way, when a slice of the partner's sleep ends
/// just then: it came by the point in a world before, and does in another.
const ANOTHER_WAY: i32 = 71;
const WORLDS: usize = 5;

fn double(first: (Operation, &str), second: (Operation, &str)) -> Ended {
    let tries = (0..WORLDS).map(|_| double_once(first, second));
    let mut tries = tries.skip_while(|ended| *ended == Ended::Exited(ANOTHER_WAY));
    tries.next().unwrap_or(Ended::Exited(ANOTHER_WAY))
}

fn double_once(first: (Operation, &str), second: (Operation, &str)) -> Ended {
    in_a_world(|world| {
        match world.victim(first.1, 1, first.0) {
            HIT | CHILD_HIT => {}
            DONE => return ANOTHER_WAY,
            other => panic!("the first victim ended with {other:?}"),
        }
        match world.victim(second.1, 1, second.0) {
            HIT | CHILD_HIT => survive(world),
            DONE => MISSED,
            other => panic!("the second victim ended with {other:?}"),
        }
    })
}

/// Every repetition of a point in an operation, up to this many.
const REPETITIONS: usize = 3;

fn singles(
    tally: &mut Tally,
    operations: impl Iterator<Item = &'static Operation>,
) -> Vec<(Operation, &'static str)> {
    let places: Vec<(Operation, &str)> = operations
        .flat_map(|operation| {
            let points = CRASH_POINTS.iter().filter(|of| concerns(operation, of));
            points.map(|point| (*operation, *point))
        })
        .collect();
    tally.at_each::<_, REPETITIONS>(
        places,
        |(operation, point), count| single(operation, point, count),
        |(operation, point)| format!("{} at {point}", operation.name),
    )
}

/// Of the double faults of queues only every so many-th is tried: some 30,000 may be reached.
fn stride() -> usize {
    let stride = std::env::var("CRASH_STRIDE").ok();
    stride.map_or(1, |word| word.parse().expect("CRASH_STRIDE is a number"))
}

fn doubles(tally: &mut Tally, firsts: &[(Operation, &'static str)]) {
    let (stride, mut of_queues) = (stride(), 0);
    // Which points a recovery passes depends on what it finds: each is tried that any first
    // death makes reachable, the rest is skipped by one look at the whole list.
    let mut cases = Vec::new();
    for recovery in RECOVERIES {
        for first in firsts {
            for point in CRASH_POINTS
                .iter()
                .filter(|point| may_reach(&first.0, recovery, point))
            {
                if is_of_queues(&first.0) {
                    of_queues += 1;
                    if of_queues % stride != 0 {
                        continue;
                    }
                }
                cases.push((*first, (*recovery, *point)));
            }
        }
    }
    tally.of_each(
        cases,
        |(first, second)| double(first, second),
        |((operation, at), (recovery, point))| {
            format!(
                "{} at {at}, then {} at {point}",
                operation.name, recovery.name
            )
        },
    );
}

fn is_of_queues(operation: &Operation) -> bool {
    queues::OPERATIONS
        .iter()
        .any(|of| of.name == operation.name)
}

/// Nobody comes by the points of queues who uses none, nor by those of locks who uses only queues.
fn concerns(operation: &Operation, point: &str) -> bool {
    let any = |kinds: &[&str]| kinds.iter().any(|kind| point.starts_with(kind));
    let of_queues = any(&["queue.", "payload."]);
    let of_others = any(&[
        "attach.",
        "fork.",
        "passage.",
        "lock.",
        "semaphore.",
        "barrier.",
    ]);
    let of_others = of_others || any(&["event.", "leave.", "ledger.block", "ledger.linked"]);
    if is_of_queues(operation) {
        !of_others
    } else {
        !of_queues
    }
}

fn may_reach(first: &Operation, recovery: &Operation, point: &str) -> bool {
    if is_of_queues(first) || recovery.name == queues::RECOVERY {
        return is_of_queues(first) && queues_may_reach(recovery, point);
    }
    let shared = shared::OPERATIONS.iter().any(|of| of.name == first.name);
    let bodies = ["semaphore.", "waiters.", "barrier."];
    let kinds: &[&str] = match (recovery.name, shared) {
        ("sweep", _) => &["ilock.", "sweep.", "object.", "heap.freed", "heap.tails"],
        (shared::RECOVERY, true) => &["ilock.", "eventcount."],
        (shared::RECOVERY, false) | (_, true) => return false,
        (_, false) => &["ilock.", "ledger.", "heap.taken"],
    };
    let kinds = kinds.iter().chain(bodies.iter().filter(|_| shared));
    kinds.copied().any(|kind| point.starts_with(kind))
}

/// What a recovery of queues passes: taking over, repair, and then all that it does itself.
fn queues_may_reach(recovery: &Operation, point: &str) -> bool {
    let kinds: &[&str] = match recovery.name {
        "sweep" => &[
            "ilock.",
            "sweep.",
            "object.",
            "heap.freed",
            "heap.tails",
            "queue.",
        ],
        queues::RECOVERY => &["ilock.", "queue.", "payload."],
        _ => return false,
    };
    kinds.iter().any(|kind| point.starts_with(kind))
}

fn main() -> ExitCode {
    let mut words = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'));
    let wish = words.next();
    // Only operations with this word in their names.
    let only = words.next();
    let mut tally = Tally::new();
    // `single`: single deaths of all but queues; `queues`: of those, `double-queues`: and double
    // faults; nothing: everything.
    let of_locks: &[&str] = &["semaphore.", "waiters.", "barrier.", "event"];
    let of_queues: &[&str] = &["queue.", "payload."];
    let (locks, queued) = match wish.as_deref() {
        Some("single") => (of_locks, &[][..]),
        Some("queues" | "double-queues") => (&[][..], of_queues),
        _ => (of_locks, of_queues),
    };
    let operations = OPERATIONS.iter().chain(shared::OPERATIONS);
    let operations = operations
        .filter(|_| !locks.is_empty())
        .chain(queues::OPERATIONS.iter().filter(|_| !queued.is_empty()))
        .filter(|of| {
            only.as_ref()
                .is_none_or(|word| of.name.contains(word.as_str()))
        });
    // Panics of worlds are told by their exit status; say where they came from as well.
    let firsts = singles(&mut tally, operations);
    let missed = CRASH_POINTS.iter().filter(|point| {
        let mut kinds = locks.iter().chain(queued).filter(|_| only.is_none());
        kinds.any(|kind| point.starts_with(kind)) && !firsts.iter().any(|(_, hit)| hit == *point)
    });
    for point in missed {
        tally.note(Ended::Exited(1), || format!("no operation passes {point}"));
    }
    let pairs = tally.cases();
    println!(
        "{pairs} single deaths at {} (operation, point) pairs",
        firsts.len()
    );
    if !matches!(wish.as_deref(), Some("single" | "queues")) {
        doubles(&mut tally, &firsts);
        println!(
            "{} double faults, of queues every {}. tried",
            tally.cases() - pairs,
            stride()
        );
    }
    tally.finish()
}
