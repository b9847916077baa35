//! What tests on real arenas share.
#![allow(dead_code)] // each uses its part

pub(crate) mod dicts;

use procession_core::{Object, ObjectKind, fsck, ledger};
use procession_shm::local::Holdings;
use procession_shm::member::{Member, Reservation};
use procession_shm::span::BlockState;
use procession_shm::{Arena, OwnerId};

pub(crate) fn new_member() -> Member {
    Arena::create()
        .unwrap()
        .attach(Holdings::default())
        .unwrap()
}

pub(crate) fn create(member: Member, nbytes: u64) -> Object {
    Object::create(member, ObjectKind::Memory, nbytes, |_| Ok(())).unwrap()
}

/// Runs `body` in a process of its own; true when it ended without a panic.
pub(crate) fn in_a_child(body: impl FnOnce()) -> bool {
    // SAFETY: the child uses the allocator, which glibc makes usable after fork, and nothing
    // else that another thread of the harness may have locked.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        // SAFETY: alarm has no memory effects: who hangs is ended.
        unsafe { libc::alarm(20) };
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        // SAFETY: ends the child without the harness's exit handlers.
        unsafe { libc::_exit(i32::from(done.is_err())) };
    }
    let mut status = 0;
    // SAFETY: `status` is a live int that the call fills.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(waited, pid);
    status == 0
}

/// A process that has come and died.
pub(crate) fn one_dead(arena: &'static Arena) -> OwnerId {
    let reservation = arena.reserve().unwrap();
    reservation.owner
}

pub(crate) fn assert_clean(member: Member, objects: usize) {
    let report = fsck::fsck(member.arena).unwrap();
    assert!(report.inconsistent.is_empty(), "{:?}", report.inconsistent);
    assert!(report.leaked.is_empty(), "{:?}", report.leaked);
    assert_eq!((report.garbage, report.objects), (0, objects), "{report:?}");
}

pub(crate) fn chain(member: Member, object: &Object) -> Vec<Option<BlockState>> {
    ledger::blocks(member.arena, object.header)
        .map(|(block, _)| block.state())
        .collect()
}

/// As many living holders as asked for.
pub(crate) fn hold(member: Member, object: &Object, count: usize) -> Vec<Reservation> {
    let others: Vec<_> = (0..count)
        .map(|_| member.arena.reserve().unwrap())
        .collect();
    for other in &others {
        ledger::add(member, object, other.owner).unwrap();
    }
    others
}
