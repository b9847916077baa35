//! A clean end: held locks stay held, everything else is given back without a sweep.

use crate::lock::SharedLock;
use crate::object::{Object, ObjectKind};
use procession_shm::Arena;
use procession_shm::member::Member;
use procession_sys::crash_point;
use procession_sys::prim::Ordering::{Relaxed, Release};

/// Marks the locks that this process holds as held by a clean exit, and says which.
#[must_use]
pub fn detach_held(member: Member) -> Vec<(ObjectKind, u64)> {
    held_objects(member)
        .filter_map(|object| Some((object.kind()?, object)))
        .filter(|(kind, object)| {
            kind.has_lock()
                && object
                    .lock_line(member.arena)
                    .is_ok_and(|line| SharedLock::new(line).detach(member.local.owner))
        })
        .map(|(kind, object)| (kind, object.offset))
        .collect()
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
        // Blocks that a thread may still use are swept when no instruction of ours can run.
        if member.local.payloads.load(Relaxed) != 0 {
            continue;
        }
        if let Some(slot) = member.local.owner.slot() {
            let slot = member.arena.slot(slot);
            slot.left.store(slot.generation.load(Relaxed), Release);
        }
    }
}
