//! A clean end: held locks and permits stay held, everything else is given back without a sweep.

use crate::ledger;
use crate::lock::SharedLock;
use crate::object::{Object, ObjectKind};
use crate::permits;
use procession_shm::Arena;
use procession_shm::layout::SemaphoreLine;
use procession_shm::member::Member;
use procession_sys::crash_point;
use procession_sys::prim::Ordering::{Relaxed, Release};

/// Marks the locks that this process holds as held by a clean exit, and says which; and of which
/// semaphores it has how many permits, where these belong to who acquired them.
#[must_use]
pub fn detach_held(member: Member) -> Vec<(ObjectKind, u32)> {
    held_objects(member)
        .filter_map(|object| {
            let kind = object.kind()?;
            let held = held_of(member, &object, kind)?;
            Some((kind, held))
        })
        .collect()
}

/// How much of the object's this process holds; None for nothing.
fn held_of(member: Member, object: &Object, kind: ObjectKind) -> Option<u32> {
    let me = member.local.owner;
    if kind.has_lock() {
        let line = object.lock_line(member.arena).ok()?;
        return SharedLock::new(line).detach(me).then_some(1);
    }
    if kind != ObjectKind::Semaphore {
        return None;
    }
    let line: &SemaphoreLine = object.body(member.arena).ok()?;
    let mine = ledger::entries(member.arena, object.header)
        .find(|entry| ledger::owner_of(entry) == me)
        .filter(|_| permits::have_owners(line))?;
    Some(permits::units(mine)).filter(|units| *units > 0)
}

fn held_objects(member: Member) -> impl Iterator<Item = Object> {
    let holdings = member.local.private().holdings.clone();
    holdings.into_iter().filter_map(move |(offset, holding)| {
        Object::find(member.arena, offset, holding.serial).ok()
    })
}

/// Gives back all that this process has in every arena and marks its slots as left. Killed
/// anywhere in it: an ordinary death.
pub fn leave() {
    for member in Arena::all().filter_map(Arena::known_member) {
        for object in held_objects(member) {
            object.drop_all_handles(member);
        }
        crash_point!("leave.unheld");
        member.leave_spans();
        crash_point!("leave.spans_left");
        member.arena.wiped().forget();
        if let Some(slot) = member.local.owner.slot() {
            let slot = member.arena.slot(slot);
            slot.left.store(slot.generation.load(Relaxed), Release);
        }
    }
}
