//! Races between a sweeper and the living, refusals in the middle of things: each on a real
//! arena, the other side's half-done steps written by hand.
#![allow(missing_docs)]

mod common;

use common::{assert_clean, chain, create, hold, in_a_child, new_member, one_dead};
use procession_core::lock::Party;
use procession_core::{Object, ObjectKind, SharedLock, fork, ilock, ledger, sweep};
use procession_shm::layout::LedgerBlock;
use procession_shm::local::Holdings;
use procession_shm::span::{BlockState, Purpose};
use procession_shm::{ArenaError, Liveness, OwnerId};
use procession_sys::clock::{Deadline, now_ns};
use procession_sys::prim::AtomicU32;
use procession_sys::prim::Ordering::{AcqRel, Acquire, Relaxed, Release};

#[test]
fn what_is_lent_says_by_whom() {
    let member = new_member();
    let object = create(member, 100);
    let (one, other) = (
        member.arena.reserve().unwrap(),
        member.arena.reserve().unwrap(),
    );
    let is_lent = |owner, number| ledger::is_lent(member.arena, &object, owner, number);
    assert!(ledger::lend(member, &object, one.owner, 7).unwrap());
    assert!(
        !ledger::lend(member, &object, one.owner, 8).unwrap(),
        "it is there"
    );
    assert!(is_lent(one.owner, 7) && !is_lent(one.owner, 8) && !is_lent(other.owner, 7));
    // One more than the header has room for.
    assert!(ledger::lend(member, &object, other.owner, 8).unwrap());
    let third = member.arena.reserve().unwrap();
    assert!(ledger::lend(member, &object, third.owner, 9).unwrap());
    assert!(is_lent(third.owner, 9));
    assert!(!ledger::remove(member, &object, one.owner));
    assert!(!is_lent(one.owner, 7));
    ledger::add(member, &object, one.owner).unwrap();
    assert!(
        !ledger::lend(member, &object, one.owner, 7).unwrap(),
        "it holds the object"
    );
    assert!(!is_lent(one.owner, 7));
    object.drop_handle(member);
}

#[test]
fn a_linked_block_of_the_dead_is_the_objects_though_nobody_repaired_yet() {
    let member = new_member();
    let object = create(member, 100);
    // A process dies between linking its block and publishing it, and the lock's heir, alive,
    // has not begun to repair.
    let heir = member.arena.reserve().unwrap();
    let (at, header) = (object.offset, object.header);
    assert!(in_a_child(|| {
        let dying = member.arena.attach(Holdings::default()).unwrap();
        let block = dying.allocate(128, Purpose::Ledger).unwrap();
        let ledger: &LedgerBlock = dying.arena.at(block.offset).unwrap();
        ledger.parent.store(at, Relaxed);
        ledger.parent_serial.store(object.serial, Relaxed);
        ledger.next.store(0, Relaxed);
        header.chain.store(block.offset, Release);
        header.lock.store(heir.owner.bits(), Release);
    }));
    sweep::sweep(member).unwrap();
    let owned = Some(BlockState::Owned(Purpose::Ledger));
    assert_eq!(chain(member, &object), [owned], "the sweeper freed it");
    header.lock.store(0, Release);
    assert_clean(member, 1);
}

#[test]
fn a_sweeper_leaves_the_chain_of_an_object_to_whoever_frees_it() {
    let member = new_member();
    let object = create(member, 100);
    let others = hold(member, &object, 20);
    for other in &others {
        assert!(!ledger::remove(member, &object, other.owner));
    }
    // We have retracted the object and are about to free its chain.
    assert!(ledger::remove(member, &object, member.local.owner));
    let before = chain(member, &object);
    assert!(!before.is_empty());
    let _ = one_dead(member.arena);
    sweep::sweep(member).unwrap();
    assert_eq!(chain(member, &object), before, "freed under our feet");
}

#[test]
fn who_comes_too_late_holds_no_stranger() {
    let member = new_member();
    let first = create(member, 100);
    first.drop_handle(member);
    let second = create(member, 100);
    assert_eq!(first.offset, second.offset, "the place was used again");
    // Between finding the first and adding to its ledger another process freed it.
    let late = member.arena.reserve().unwrap();
    let added = ledger::add(member, &first, late.owner);
    assert!(matches!(added, Err(ArenaError::Stale(_))), "{added:?}");
    assert!(matches!(
        ledger::extend(member, &first),
        Err(ArenaError::Stale(_))
    ));
    assert_eq!(ledger::holders(member.arena, second.header), 1);
    assert!(chain(member, &second).is_empty());
    assert!(!ledger::remove(member, &first, member.local.owner));
    assert_eq!(ledger::holders(member.arena, second.header), 1);
    assert_clean(member, 1);
}

#[test]
fn a_freed_objects_number_is_gone() {
    let member = new_member();
    let object = create(member, 100);
    object.drop_handle(member);
    assert_eq!(object.header.serial.load(Acquire), 0);
    let again = Object::open(member, object.offset, object.serial, |_| true);
    assert!(matches!(again, Err(ArenaError::Stale(_))));
}

struct AllDead;

impl Liveness for AllDead {
    fn is_dead(&self, _: OwnerId) -> bool {
        true
    }
}

/// Dies between two questions, the last of so many.
struct DeadWhenAsked(std::cell::Cell<u32>);

impl Liveness for DeadWhenAsked {
    fn is_dead(&self, _: OwnerId) -> bool {
        self.0.set(self.0.get().saturating_sub(1));
        self.0.get() == 0
    }
}

#[test]
fn a_dead_holder_is_noticed_under_a_storm_of_signals() {
    extern "C" fn nothing(_: i32) {}
    assert!(in_a_child(|| {
        let handler = nothing as extern "C" fn(i32);
        // SAFETY: zeroed bytes are a valid sigaction: no flags, so no SA_RESTART.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handler as libc::sighandler_t;
        // SAFETY: `action` outlives the call; the handler does nothing.
        let rc = unsafe { libc::sigaction(libc::SIGPROF, &raw const action, std::ptr::null_mut()) };
        assert_eq!(rc, 0);
        let tick = libc::timespec {
            tv_sec: 0,
            tv_nsec: 200_000,
        };
        let every = libc::itimerspec {
            it_interval: tick,
            it_value: tick,
        };
        // A timer of the kernel's comes on time however busy the machine is.
        // SAFETY: zeroed bytes are a valid sigevent.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_SIGNAL;
        event.sigev_signo = libc::SIGPROF;
        let mut timer: libc::timer_t = std::ptr::null_mut();
        let clock = libc::CLOCK_MONOTONIC;
        // SAFETY: both are live and of the right type.
        let rc = unsafe { libc::timer_create(clock, &raw mut event, &raw mut timer) };
        assert_eq!(rc, 0);
        // SAFETY: `timer` was made above, `every` is live.
        let rc = unsafe { libc::timer_settime(timer, 0, &raw const every, std::ptr::null_mut()) };
        assert_eq!(rc, 0);
        let word = AtomicU32::new(OwnerId::new(7, 7).bits());
        let started = now_ns();
        let mut repaired = false;
        // On a busy machine a signal may be late once: eight slices in a row need a rule.
        let live = DeadWhenAsked(std::cell::Cell::new(8));
        drop(ilock::acquire(&word, OwnerId::new(1, 1), &live, || {
            repaired = true;
        }));
        let took = now_ns() - started;
        assert!(repaired);
        assert!(took < 1_000_000_000, "{took} ns");
    }));
}

#[test]
fn a_repair_that_panics_does_not_keep_the_lock() {
    let word = AtomicU32::new(OwnerId::new(7, 7).bits());
    let done = std::panic::catch_unwind(|| {
        let _held = ilock::acquire(&word, OwnerId::new(1, 1), &AllDead, || panic!("repair"));
    });
    assert!(done.is_err());
    assert_eq!(word.load(Relaxed), 0);
}

#[test]
fn an_old_generation_is_dead_whoever_has_the_slot_now() {
    let member = new_member();
    let old = one_dead(member.arena);
    sweep::sweep(member).unwrap();
    let new = loop {
        let next = member.arena.reserve().unwrap();
        if next.owner.slot() == old.slot() {
            break next;
        }
    };
    assert_ne!(old, new.owner);
    assert!(member.arena.is_dead(old));
    assert!(!member.arena.is_dead(new.owner));
    assert!(member.arena.is_dead(OwnerId::DECEASED));
    assert!(!member.arena.is_dead(OwnerId::DETACHED));
    assert!(!member.arena.is_dead(member.local.owner));
}

#[test]
fn nobody_dies_by_hearsay_about_another_file() {
    assert!(in_a_child(|| {
        let member = new_member();
        let arena = member.arena;
        // Somebody who can lend the descriptor lives all the while.
        let mut pipe = [0; 2];
        // SAFETY: `pipe` has room for both ends.
        assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
        // SAFETY: the child attaches, waits for the end of the pipe and ends.
        let lender = unsafe { libc::fork() };
        if lender == 0 {
            // SAFETY: no memory effects; a failed test must not leave us behind.
            unsafe { libc::alarm(10) };
            let _ = fork::member(arena).unwrap();
            // SAFETY: a pause until a signal ends us.
            unsafe { libc::pause() };
        }
        while arena.slot(1).pid.load(Acquire) == 0 {
            std::thread::yield_now();
        }
        let owner = arena.slot(1).owner(1).unwrap();
        let end = Deadline::after_ns(1_500_000_000);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // A program that closes what is not its own, and opens other files.
                let mut taken = std::collections::VecDeque::new();
                while !end.is_past() {
                    let Ok(fd) = arena.fd() else { continue };
                    // SAFETY: descriptor numbers only; ours are at stake.
                    unsafe { libc::dup2(pipe[0], fd) };
                    taken.push_back(fd);
                    if taken.len() > 200 {
                        // SAFETY: a number that we took above.
                        taken.pop_front().map(|fd| unsafe { libc::close(fd) });
                    }
                }
            });
            scope.spawn(|| {
                while !end.is_past() {
                    let _ = arena.fd();
                }
            });
            while !end.is_past() {
                if arena.try_is_dead(owner) == Ok(true) {
                    break;
                }
            }
        });
        let dead = arena.try_is_dead(owner);
        // SAFETY: ends a child of ours.
        unsafe { libc::kill(lender, libc::SIGKILL) };
        assert_eq!(dead, Ok(false), "a living process was declared dead");
    }));
}

#[test]
fn a_waiter_of_a_dead_owners_lock_inherits_it_from_the_buried() {
    let member = new_member();
    let object = Object::create(member, ObjectKind::Lock, 64, |_| Ok(())).unwrap();
    let line = object.lock_line(member.arena).unwrap();
    let lock = SharedLock::new(line);
    let other = member.arena.reserve().unwrap();
    let party = |owner| Party { owner, thread: 5 };
    assert!(lock.try_acquire(party(other.owner)));
    drop(other);
    sweep::sweep(member).unwrap();
    assert_eq!(lock.owner(), OwnerId::DECEASED);
    assert!(
        lock.take_over(party(member.local.owner), member.arena)
            .is_some()
    );
    let word = line.word.compare_exchange(0, 0, AcqRel, Acquire);
    assert_eq!(word.map_err(OwnerId::of_word), Err(member.local.owner));
    assert_clean(member, 1);
}

#[test]
fn repair_does_not_ask_who_died() {
    let member = new_member();
    let object = create(member, 100);
    // One process linked a block and died; another took its lock over and died as well.
    let second = one_dead(member.arena);
    let header = object.header;
    assert!(in_a_child(|| {
        let first = member.arena.attach(Holdings::default()).unwrap();
        let block = first.allocate(128, Purpose::Ledger).unwrap();
        let ledger: &LedgerBlock = first.arena.at(block.offset).unwrap();
        ledger.parent.store(object.offset, Relaxed);
        ledger.parent_serial.store(object.serial, Relaxed);
        ledger.next.store(0, Relaxed);
        header.chain.store(block.offset, Release);
        header.lock.store(second.bits(), Release);
    }));
    assert!(!ledger::remove(member, &object, second));
    let owned = Some(BlockState::Owned(Purpose::Ledger));
    assert_eq!(chain(member, &object), [owned], "not repaired");
    sweep::sweep(member).unwrap();
    assert_clean(member, 1);
}

#[test]
fn nobody_sees_an_object_before_it_is_whole() {
    let member = new_member();
    let object = Object::create(member, ObjectKind::Memory, 100, |half| {
        assert!(Object::at(member.arena, half.offset).unwrap().is_none());
        assert!(Object::open(member, half.offset, half.serial, |_| true).is_err());
        Ok(())
    });
    object.unwrap().drop_handle(member);
    // An object that could not be made leaves nothing.
    let refused = Object::create(member, ObjectKind::Memory, 100, |_| {
        Err(ArenaError::NoMemory("a test".into()))
    });
    assert!(refused.is_err());
    assert_clean(member, 0);
}

#[test]
fn a_forked_child_holds_what_its_parent_held() {
    assert!(in_a_child(|| {
        let member = new_member();
        let object = create(member, 100);
        fork::before();
        // SAFETY: this process has one thread.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            fork::in_child();
            // SAFETY: no memory effects; a failed test must not leave us behind.
            unsafe { libc::alarm(10) };
            // SAFETY: a pause until a signal ends us.
            unsafe { libc::pause() };
        }
        fork::in_parent();
        object.drop_handle(member);
        assert!(object.is_current(), "the child lost it");
        // SAFETY: ends a child of ours.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        // SAFETY: collects it; a null status is allowed.
        unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
        sweep::sweep(member).unwrap();
        assert!(!object.is_current());
        assert_clean(member, 0);
    }));
}

#[test]
fn the_slot_of_the_dead_is_not_given_away_before_the_sweep() {
    let member = new_member();
    let object = create(member, 100);
    let dead = hold(member, &object, 1).pop().unwrap().owner;
    let next = member.arena.reserve().unwrap();
    assert_ne!(next.owner.slot(), dead.slot());
    sweep::sweep(member).unwrap();
    assert_eq!(ledger::holders(member.arena, object.header), 1);
    assert_clean(member, 1);
    drop(next);
}
