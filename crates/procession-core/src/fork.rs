//! Fork: the parent attaches for the child, the child finishes it.
//!
//! ```text
//! before         reserve a slot; add the child to the ledger of all that we hold
//! in the child   pin the slot; go on with a copy of the holdings
//! in the parent  close our descriptor of the child's slot; remember who it is
//! ```
//!
//! The child is a holder before it exists, so the parent may free anything at any time. If
//! the fork fails, or the child dies before its first instruction, the reserved owner is dead
//! as soon as the parent closes, and the sweeper removes it everywhere.

use crate::ledger;
use crate::object::Object;
use crate::passage;
use procession_shm::local::Holdings;
use procession_shm::member::{Member, Reservation};
use procession_shm::{Arena, ArenaError};
use procession_sys::crash_point;
use std::sync::Mutex;

/// A fork between `before` and its end in parent and child.
#[derive(Debug)]
struct Pending {
    arena: &'static Arena,
    reservation: Reservation,
    holdings: Holdings,
}

/// At most one fork at a time: the interpreter's fork handlers hold the GIL from `before` on.
static PENDING: Mutex<Vec<Pending>> = Mutex::new(Vec::new());

/// Prepares every arena that this process has attached to. An arena that cannot be prepared
/// is left to the child's first use of it.
pub fn before() {
    let prepared = Arena::all()
        .filter_map(Arena::known_member)
        .filter_map(|member| prepare(member).ok())
        .collect();
    if let Ok(mut pending) = PENDING.lock() {
        *pending = prepared;
    }
}

fn prepare(member: Member) -> Result<Pending, ArenaError> {
    let reservation = member.arena.reserve()?;
    crash_point!("fork.reserved");
    let mut holdings = member.local.private().holdings.clone();
    holdings.retain(|offset, holding| {
        Object::find(member.arena, *offset, holding.serial)
            .and_then(|object| ledger::add(member, &object, reservation.owner))
            .is_ok()
    });
    crash_point!("fork.shared");
    Ok(Pending {
        arena: member.arena,
        reservation,
        holdings,
    })
}

fn take_pending() -> Vec<Pending> {
    PENDING
        .try_lock()
        .map(|mut pending| std::mem::take(&mut *pending))
        .unwrap_or_default()
}

/// The parent's end.
pub fn in_parent() {
    for pending in take_pending() {
        if let Some(member) = pending.arena.known_member() {
            member
                .local
                .private()
                .children
                .push(pending.reservation.owner);
        }
    }
}

/// The child's end. What fails here is tried again at the first use of that arena.
pub fn in_child() {
    passage::forget_in_child();
    for pending in take_pending() {
        let _ = pending.arena.settle(pending.reservation, pending.holdings);
        crash_point!("fork.attached");
    }
}

/// This process in `arena`; one that was forked behind our back (by a raw clone) attaches now
/// and keeps what still exists of what it inherited.
pub fn member(arena: &'static Arena) -> Result<Member, ArenaError> {
    if let Some(member) = arena.known_member() {
        return Ok(member);
    }
    let _alone = arena.wiped().attaching();
    if let Some(member) = arena.known_member() {
        return Ok(member);
    }
    let inherited = arena.inherited_holdings();
    let member = arena.attach(Holdings::default())?;
    for (offset, holding) in inherited {
        let kept = Object::find(arena, offset, holding.serial)
            .and_then(|object| ledger::add(member, &object, member.local.owner));
        if kept.is_ok() {
            member.local.private().holdings.insert(offset, holding);
        }
    }
    Ok(member)
}
