//! The objects that processes agree with: semaphores, events, conditions, barriers.

use crate::victims::{DONE, spawn, wait};
use crate::world::World;
use crate::{Operation, acquire, party, prepared};
use procession_core::barrier::{Arrived, Barrier, Outcome};
use procession_core::condition::Condition;
use procession_core::lock::{Waited, Waiting, flags};
use procession_core::semaphore::Semaphore;
use procession_core::{Object, ObjectKind, SharedLock, event, ledger, permits, waiters};
use procession_shm::layout::{BarrierLine, ConditionLine, EventLine, SemaphoreLine, Waiter};
use procession_shm::local::Holdings;
use procession_shm::member::Member;
use procession_shm::{Liveness, OwnerId};
use procession_sys::clock::Deadline;
use procession_sys::futex;
use procession_sys::prim::AtomicU32;
use procession_sys::prim::Ordering::Relaxed;

const PERMITS: u32 = 3;

/// One object of each kind, held by the survivor.
pub(crate) struct Shared {
    semaphore: Object,
    /// Another one, of which permits may be given that nobody took.
    signals: Object,
    event: Object,
    condition: Object,
    barrier: Object,
}

fn soon() -> Waiting {
    Waiting::until(Deadline::after_seconds(0.001))
}

impl Shared {
    pub(crate) fn create(member: Member) -> Self {
        let semaphore = || {
            let nbytes = size_of::<SemaphoreLine>() as u64;
            let init = |object: &Object| {
                let line: &SemaphoreLine = object.body(member.arena)?;
                line.value.store(PERMITS, Relaxed);
                line.total.store(PERMITS, Relaxed);
                line.maximum.store(100, Relaxed);
                Ok(())
            };
            Object::create(member, ObjectKind::Semaphore, nbytes, init).unwrap()
        };
        let other = |kind| Object::create(member, kind, 64, |_| Ok(())).unwrap();
        let made = Self {
            semaphore: semaphore(),
            signals: semaphore(),
            event: other(ObjectKind::Event),
            condition: other(ObjectKind::Condition),
            barrier: other(ObjectKind::Barrier),
        };
        made.barrier(member).line.parties.store(2, Relaxed);
        made
    }

    pub(crate) fn objects(&self) -> impl Iterator<Item = &Object> {
        [
            &self.semaphore,
            &self.signals,
            &self.event,
            &self.condition,
            &self.barrier,
        ]
        .into_iter()
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

    fn semaphore(&self, member: Member) -> Semaphore<'_> {
        let object = &self.semaphore;
        Semaphore {
            object,
            line: object.body(member.arena).unwrap(),
        }
    }

    fn signals(&self, member: Member) -> Semaphore<'_> {
        let object = &self.signals;
        Semaphore {
            object,
            line: object.body(member.arena).unwrap(),
        }
    }

    fn event(&self, member: Member) -> &'static EventLine {
        self.event.body(member.arena).unwrap()
    }

    fn condition(&self, member: Member) -> Condition<'_> {
        let object = &self.condition;
        let line: &ConditionLine = object.body(member.arena).unwrap();
        Condition { object, line }
    }

    fn barrier(&self, member: Member) -> Barrier<'_> {
        let object = &self.barrier;
        let line: &BarrierLine = object.body(member.arena).unwrap();
        Barrier { object, line }
    }

    /// What is left when the dead are swept.
    pub(crate) fn check(&self, member: Member) {
        // Each permit is free or lent, and the dead have none.
        for semaphore in [self.semaphore(member), self.signals(member)] {
            let value = semaphore.value(member);
            let lent: u32 = ledger::entries(member.arena, semaphore.object.header)
                .map(permits::units)
                .sum();
            assert_eq!(lent, 0, "permits are lent to nobody");
            assert_eq!(value, semaphore.line.total.load(Relaxed), "value and total");
            assert_eq!(semaphore.line.fold_entry.load(Relaxed), 0, "half a fold");
        }
        assert_eq!(self.semaphore(member).value(member), PERMITS);
        let left = waiters::taken(member.arena, &self.condition).count();
        assert_eq!(left, 0, "entries of waiters are left");
        for (entry, owner) in waiters::taken(member.arena, &self.barrier) {
            assert_eq!(entry.word.load(Relaxed), waiters::AWAY, "{owner:?} waits");
            let is_known = owner == OwnerId::DECEASED || owner == member.local.owner;
            assert!(is_known, "{owner:?} is a member for ever");
        }
        assert_eq!(self.barrier(member).waiting(member), 0);
    }

    /// All still serve.
    pub(crate) fn use_everything(&self, member: Member) {
        let semaphore = self.semaphore(member);
        for _ in 0..PERMITS {
            assert!(semaphore.try_acquire(member), "a permit is missing");
        }
        assert!(!semaphore.try_acquire(member), "a permit too many");
        for _ in 0..PERMITS {
            assert!(semaphore.release(member));
        }
        event::set(&self.event(member).word);
        assert!(event::is_set(&self.event(member).word));
        event::clear(&self.event(member).word);
        notify_ourselves(self.condition(member), member);
        let barrier = self.barrier(member);
        if barrier.is_broken() {
            barrier.reset(member);
        }
        assert_eq!(meet_ourselves(barrier, member), Outcome::Released);
    }
}

fn notify_ourselves(condition: Condition<'_>, member: Member) {
    let entries: Vec<_> = (0..3).map(|_| condition.enter(member).unwrap()).collect();
    assert_eq!(condition.notify(member, 2, None), 2);
    let notified = entries.iter().map(|entry| condition.leave(member, entry));
    assert_eq!(notified.collect::<Vec<_>>(), [true, true, false]);
}

fn arrive(barrier: Barrier<'_>, member: Member) -> &'static Waiter {
    match barrier.arrive(member).unwrap() {
        Arrived::Waits(entry, _) | Arrived::Last(entry, _) => entry,
        other => panic!("nobody else is here: {other:?}"),
    }
}

/// Two threads of one process, in effect.
fn meet_ourselves(barrier: Barrier<'_>, member: Member) -> Outcome {
    let (first, last) = (arrive(barrier, member), arrive(barrier, member));
    let released = barrier.release(member, last);
    assert_eq!(barrier.leave(member, first, false), released);
    released
}

/// Another process that holds everything, acts and dies by its own end.
fn dead_process(world: &World, act: fn(&World, Member)) {
    let pid = spawn(|| {
        let member = world.arena().attach(Holdings::default()).unwrap();
        world.shared.open(member);
        act(world, member);
        0
    });
    assert_eq!(wait(pid), DONE);
}

/// Waits, as a process that is asleep when it is notified; how it ended is nobody's concern.
fn waiter(world: &World) -> i32 {
    let member = world.arena().attach(Holdings::default()).unwrap();
    world.shared.open(member);
    let condition = world.shared.condition(member);
    let entry = condition.enter(member).unwrap();
    wait_and_acquire(world, member, condition, entry);
    condition.leave(member, entry);
    SharedLock::new(world.line())
        .release(party(member))
        .unwrap();
    world.shared.drop_handles(member);
    0
}

/// Sleeps until it is notified, or a while; then acquires the lock, which it leaves with.
fn wait_and_acquire(world: &World, member: Member, condition: Condition<'_>, entry: &Waiter) {
    let lock = SharedLock::new(world.line());
    let waiting = Waiting::until(Deadline::after_seconds(0.3));
    while condition.wait(member, entry, &waiting) == Some(Waited::Slice) {}
    if !lock.try_acquire_woken(party(member)) {
        assert!(acquire(lock, party(member), member.arena).is_some());
    }
}

/// Notifies whoever waits, holding the lock, once somebody does.
fn notifier(world: &World) -> i32 {
    let member = world.arena().attach(Holdings::default()).unwrap();
    world.shared.open(member);
    let (lock, condition) = (
        SharedLock::new(world.line()),
        world.shared.condition(member),
    );
    assert!(acquire(lock, party(member), member.arena).is_some());
    until_asleep(condition, member);
    condition.notify(member, 1, Some(lock));
    lock.release(party(member)).unwrap();
    world.shared.drop_handles(member);
    0
}

/// Until somebody sleeps on its entry, or 20 ms have passed: it may be dead.
fn until_asleep(condition: Condition<'_>, member: Member) {
    let patience = Deadline::after_seconds(0.02);
    let asleep = || {
        waiters::taken(member.arena, condition.object)
            .any(|(entry, _)| entry.word.load(Relaxed) == waiters::ASLEEP)
    };
    while !asleep() && !patience.is_past() {
        std::thread::yield_now();
    }
    // From the word to the kernel's queue it is a step.
    let a_moment = AtomicU32::new(0);
    let _ = futex::wait(&a_moment, 0, Deadline::after_seconds(0.001));
}

fn open(world: &World, member: Member) {
    world.shared.open(member);
}

pub(crate) const OPERATIONS: &[Operation] = &[
    prepared("take and give permits", open, |world, member| {
        let semaphore = world.shared.semaphore(member);
        for _ in 0..PERMITS {
            assert!(semaphore.try_acquire(member));
        }
        for _ in 0..PERMITS {
            assert!(semaphore.release(member));
        }
        world.shared.drop_handles(member);
        0
    }),
    prepared("wait for a permit in vain", open, |world, member| {
        let semaphore = world.shared.semaphore(member);
        while semaphore.try_acquire(member) {}
        assert_eq!(semaphore.wait(member, &soon()), Some(Waited::TimedOut));
        assert!(semaphore.release(member), "with a sleeper's bit");
        0
    }),
    prepared(
        "take permits of the dead",
        |world, member| {
            open(world, member);
            dead_process(world, |world, member| {
                while world.shared.semaphore(member).try_acquire(member) {}
            });
        },
        |world, member| {
            let semaphore = world.shared.semaphore(member);
            assert!(!semaphore.try_acquire(member));
            semaphore.recover_from_dead(member);
            assert!(semaphore.try_acquire(member));
            assert!(semaphore.release(member));
            0
        },
    ),
    prepared("give permits that nobody took", open, |world, member| {
        let semaphore = world.shared.signals(member);
        assert!(semaphore.release(member));
        assert!(semaphore.line.flags.load(Relaxed) & flags::SIGNALLING != 0);
        assert!(semaphore.try_acquire(member));
        0
    }),
    prepared(
        "drop with permits",
        |world, member| {
            open(world, member);
            assert!(world.shared.signals(member).try_acquire(member));
        },
        |world, member| {
            world.shared.drop_handles(member);
            0
        },
    ),
    prepared(
        "sweep who had permits before they signalled",
        |world, _| {
            dead_process(world, |world, member| {
                let semaphore = world.shared.signals(member);
                assert!(semaphore.try_acquire(member));
                semaphore.line.flags.fetch_or(flags::SIGNALLING, Relaxed);
            });
        },
        crate::recover_by_sweep,
    ),
    prepared("set and clear", open, |world, member| {
        let word = &world.shared.event(member).word;
        event::set(word);
        event::clear(word);
        assert!(event::wait(word, event::epoch(word), &soon()).is_some());
        event::set(word);
        0
    }),
    prepared("wait for a notification", open, |world, member| {
        let condition = world.shared.condition(member);
        let entry = condition.enter(member).unwrap();
        assert!(condition.wait(member, entry, &soon()).is_some());
        assert!(!condition.leave(member, entry));
        0
    }),
    prepared("notify", open, |world, member| {
        for _ in 0..3 {
            // More than a block of entries.
            let condition = world.shared.condition(member);
            let more: Vec<_> = (0..5).map(|_| condition.enter(member).unwrap()).collect();
            condition.notify(member, 4, None);
            condition.abandon(member, more[0]);
            assert!(condition.leave(member, more[4]), "passed on");
            for entry in &more[1..4] {
                assert!(condition.leave(member, entry));
            }
            notify_ourselves(condition, member);
        }
        0
    }),
    prepared(
        "notify into a held lock",
        |world, member| {
            open(world, member);
            assert!(SharedLock::new(world.line()).try_acquire(party(member)));
            // It sleeps on its entry when the notification comes: it is moved to the lock.
            spawn(|| waiter(world));
            until_asleep(world.shared.condition(member), member);
        },
        |world, member| {
            let lock = SharedLock::new(world.line());
            world.shared.condition(member).notify(member, 1, Some(lock));
            lock.release(party(member)).unwrap();
            0
        },
    ),
    prepared(
        "wait for a notification into a held lock",
        |world, member| {
            open(world, member);
            assert!(SharedLock::new(world.line()).try_acquire(party(member)));
            spawn(|| notifier(world));
        },
        |world, member| {
            let lock = SharedLock::new(world.line());
            let condition = world.shared.condition(member);
            let entry = condition.enter(member).unwrap();
            lock.release(party(member)).unwrap();
            wait_and_acquire(world, member, condition, entry);
            condition.leave(member, entry);
            lock.release(party(member)).unwrap();
            0
        },
    ),
    prepared(
        "pass a dead waiter's notification on",
        |world, member| {
            open(world, member);
            dead_process(world, |world, member| {
                let condition = world.shared.condition(member);
                let _ = condition.enter(member).unwrap();
                let _ = condition.enter(member).unwrap();
                assert_eq!(condition.notify(member, 1, None), 1);
            });
        },
        |world, member| {
            let condition = world.shared.condition(member);
            let entry = condition.enter(member).unwrap();
            let waiting = Waiting::until(Deadline::after_seconds(5.0));
            while condition.wait(member, entry, &waiting) == Some(Waited::Slice) {}
            assert!(condition.leave(member, entry), "the notification is gone");
            0
        },
    ),
    prepared("wait at a barrier in vain", open, |world, member| {
        let barrier = world.shared.barrier(member);
        let entry = arrive(barrier, member);
        assert!(barrier.wait(member, entry, &soon()).is_some());
        assert_eq!(barrier.leave(member, entry, false), Outcome::Broken);
        barrier.reset(member);
        0
    }),
    prepared("meet at a barrier", open, |world, member| {
        let barrier = world.shared.barrier(member);
        assert_eq!(meet_ourselves(barrier, member), Outcome::Released);
        assert_eq!(meet_ourselves(barrier, member), Outcome::Released);
        0
    }),
    prepared("reset and abort", open, |world, member| {
        let barrier = world.shared.barrier(member);
        let entry = arrive(barrier, member);
        barrier.reset(member);
        assert_eq!(barrier.leave(member, entry, false), Outcome::Broken);
        let entry = arrive(barrier, member);
        barrier.abort(member);
        assert_eq!(barrier.leave(member, entry, false), Outcome::Broken);
        0
    }),
    prepared(
        "come to a barrier where the dead wait",
        |world, member| {
            open(world, member);
            dead_process(world, |world, member| {
                arrive(world.shared.barrier(member), member);
            });
        },
        |world, member| {
            let barrier = world.shared.barrier(member);
            let entry = arrive(barrier, member);
            assert_eq!(barrier.release(member, entry), Outcome::Broken);
            barrier.reset(member);
            0
        },
    ),
];

/// The name of [`recover`] as an operation.
pub(crate) const RECOVERY: &str = "use what others died in";

/// Goes on where another died, without any sweep: takes locks over, takes permits back.
pub(crate) fn recover(world: &World, member: Member) -> i32 {
    world.shared.open(member);
    for semaphore in [world.shared.semaphore(member), world.shared.signals(member)] {
        semaphore.recover_from_dead(member);
        let _ = semaphore.try_acquire(member);
        let _ = semaphore.release(member);
    }
    assert_eq!(world.shared.semaphore(member).value(member), PERMITS);
    event::set(&world.shared.event(member).word);
    let condition = world.shared.condition(member);
    let held = condition.object.lock(member);
    let is_dead = |owner| member.arena.is_dead(owner);
    condition.pass_on(member.arena, &held, is_dead); // to nobody
    drop(held);
    notify_ourselves(condition, member);
    let barrier = world.shared.barrier(member);
    barrier.reset(member);
    assert_eq!(meet_ourselves(barrier, member), Outcome::Released);
    world.shared.drop_handles(member);
    0
}
