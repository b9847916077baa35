//! Which deaths break a barrier: its members on a real arena, the dead ones made by hand; and
//! who is no party of a wait at all.
#![allow(missing_docs)]

mod common;

use common::{in_a_child, new_member};
use procession_core::barrier::{Arrived, Barrier, Outcome};
use procession_core::condition::Condition;
use procession_core::lock::{Waited, Waiting};
use procession_core::{Object, ObjectKind, ledger, sweep, waiters};
use procession_shm::OwnerId;
use procession_shm::layout::{BarrierLine, Waiter};
use procession_shm::local::Holdings;
use procession_shm::member::{Member, Reservation};
use procession_sys::clock::Deadline;
use procession_sys::prim::Ordering::{Relaxed, Release};

/// Longer than it takes to break, where it breaks.
const PATIENCE: f64 = 1.5;

struct Scene {
    member: Member,
    object: Object,
}

impl Scene {
    fn new(parties: u32) -> Self {
        let member = new_member();
        let nbytes = size_of::<BarrierLine>() as u64;
        let object = Object::create(member, ObjectKind::Barrier, nbytes, |_| Ok(())).unwrap();
        let scene = Self { member, object };
        scene.barrier().line.parties.store(parties, Relaxed);
        scene
    }

    fn barrier(&self) -> Barrier<'_> {
        Barrier {
            object: &self.object,
            line: self.object.body(self.member.arena).unwrap(),
        }
    }

    fn arrive(&self) -> &'static Waiter {
        match self.barrier().arrive(self.member).unwrap() {
            Arrived::Waits(entry, _) | Arrived::Last(entry, _) => entry,
            other => panic!("{other:?}"),
        }
    }

    /// A process that holds the barrier.
    fn holder(&self) -> Reservation {
        let other = self.member.arena.reserve().unwrap();
        ledger::add(self.member, &self.object, other.owner).unwrap();
        other
    }

    /// Two threads of ours meet; the second entry then becomes that of `other`, who is away.
    fn met_with(&self, other: OwnerId) {
        let (first, last) = (self.arrive(), self.arrive());
        assert_eq!(self.barrier().release(self.member, last), Outcome::Released);
        assert_eq!(
            self.barrier().leave(self.member, first, false),
            Outcome::Released
        );
        if waiters::is_of(last, self.member.local.owner) {
            last.owner.store(other.bits(), Release); // a crowd keeps no entries
        }
    }

    /// Waits for a while; whether the barrier broke.
    fn breaks(&self) -> bool {
        let entry = self.arrive();
        let waiting = Waiting::until(Deadline::after_seconds(PATIENCE));
        while self.barrier().wait(self.member, entry, &waiting) == Some(Waited::Slice) {}
        let broke = self.barrier().is_broken();
        self.barrier().leave(self.member, entry, true);
        broke
    }

    fn members(&self) -> Vec<OwnerId> {
        waiters::taken(self.member.arena, &self.object)
            .map(|(_, owner)| owner)
            .collect()
    }
}

#[test]
fn a_dead_member_is_missed() {
    let scene = Scene::new(2);
    let other = scene.holder();
    scene.met_with(other.owner);
    drop(other);
    assert!(scene.breaks());
}

#[test]
fn a_dead_member_is_missed_by_who_never_knew_it() {
    let scene = Scene::new(2);
    let other = scene.holder();
    scene.met_with(other.owner);
    drop(other);
    sweep::sweep(scene.member).unwrap();
    assert!(scene.members().contains(&OwnerId::DECEASED));
    assert!(scene.breaks());
}

#[test]
fn a_living_member_is_waited_for() {
    let scene = Scene::new(2);
    let other = scene.holder();
    scene.met_with(other.owner);
    assert!(!scene.breaks());
}

#[test]
fn somebody_who_has_never_waited_may_come() {
    let scene = Scene::new(2);
    let (other, _spare) = (scene.holder(), scene.holder());
    scene.met_with(other.owner);
    drop(other);
    assert!(!scene.breaks());
}

#[test]
fn whoever_unpickles_a_handle_may_come() {
    let scene = Scene::new(2);
    let other = scene.holder();
    scene.met_with(other.owner);
    drop(other);
    ledger::pin(scene.member, &scene.object);
    assert!(!scene.breaks());
}

#[test]
fn a_crowd_misses_nobody() {
    let scene = Scene::new(2);
    let (other, third) = (scene.holder(), scene.holder());
    scene.met_with(other.owner);
    scene.met_with(third.owner); // one more than there are parties
    drop((other, third));
    assert!(!scene.breaks());
}

#[test]
fn who_has_dropped_its_handle_is_no_member() {
    let scene = Scene::new(2);
    let other = scene.holder();
    scene.met_with(other.owner);
    assert!(!ledger::remove(scene.member, &scene.object, other.owner));
    assert_eq!(scene.members(), [scene.member.local.owner]);
    drop(other);
    assert!(!scene.breaks());
}

#[test]
fn a_newcomer_takes_the_place_of_a_dead_member() {
    let scene = Scene::new(2);
    let other = scene.holder();
    scene.met_with(other.owner);
    drop(other);
    let again = scene.arrive();
    // Our second thread was no member, whose entry is now another's.
    let newcomer = scene.arrive();
    assert_eq!(scene.members().len(), 2);
    let barrier = scene.barrier();
    assert_eq!(barrier.release(scene.member, newcomer), Outcome::Released);
    barrier.leave(scene.member, again, false);
    assert_eq!(barrier.line.crowd.load(Relaxed), 0);
}

#[test]
fn a_reset_forgets_who_came() {
    let scene = Scene::new(2);
    let (other, third) = (scene.holder(), scene.holder());
    scene.met_with(other.owner);
    scene.met_with(third.owner);
    scene.barrier().reset(scene.member);
    assert_eq!(scene.members(), []);
    assert_eq!(scene.barrier().line.crowd.load(Relaxed), 0);
}

#[test]
fn a_child_forked_in_a_wait_has_no_part_in_it() {
    let member = new_member();
    let line_of = |object: &Object| object.body(member.arena).unwrap();
    let make = |kind| Object::create(member, kind, 64, |_| Ok(())).unwrap();
    let condition = make(ObjectKind::Condition);
    let parents = Condition {
        object: &condition,
        line: line_of(&condition),
    };
    let entry = parents.enter(member).unwrap();
    assert!(in_a_child(|| {
        let child = member.arena.attach(Holdings::default()).unwrap();
        assert!(!parents.leave(child, entry));
        parents.abandon(child, entry);
    }));
    assert!(
        waiters::is_of(entry, member.local.owner),
        "its entry is gone"
    );
    assert_eq!(parents.notify(member, 1, None), 1);
    assert!(parents.leave(member, entry));
}
