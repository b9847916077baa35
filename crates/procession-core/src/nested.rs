//! Objects that lie in containers: each blob that refers to one keeps it (`carriers.rs`).
//!
//! Whoever finds an object in a container opens it with the container locked: what lies in a locked
//! container exists. The object's own lock is only tried meanwhile, for containers may lie
//! in each other. A ring of containers that nobody holds stays as long as the arena.

use crate::blob::{Blob, Named};
use crate::carriers;
use crate::container::Container;
use crate::ledger::{self, Added};
use crate::object::Object;
use procession_shm::block::Block;
use procession_shm::local::Holding;
use procession_shm::member::Member;
use procession_shm::{ArenaError, OwnerId};
use procession_sys::crash_point;

/// Enters a new blob into the ledgers of what it refers to, all of which the caller holds.
pub fn enter(member: Member, blob: &Blob, named: &[Named]) -> Result<(), ArenaError> {
    let entered = carriers::enter(member, &blob.block, named, || {
        crash_point!("nested.entered");
    });
    entered.inspect_err(|_| discard(member, blob))
}

/// Frees a blob that was put nowhere.
pub fn discard(member: Member, blob: &Blob) {
    carriers::free(member, &blob.block);
}

/// What came of opening an object that was found in a container.
#[derive(Debug)]
#[must_use]
pub enum Opened {
    /// One handle more, ours.
    Object(Object),
    /// The container has changed: look again.
    Changed,
}

/// Opens an object that lies in a container, if it still does: `is_there` asks that under the lock.
pub fn open(
    member: Member,
    container: &Container,
    named: Named,
    is_there: impl Fn() -> bool,
) -> Result<Opened, ArenaError> {
    let (offset, serial) = named;
    let mut spare: Option<Block> = None;
    let outcome = loop {
        let mut private = member.local.private();
        if let Some(holding) = private.holdings.get_mut(&offset) {
            if holding.serial == serial {
                holding.handles += 1;
                drop(private);
                break Object::find(member.arena, offset, serial).map(Opened::Object);
            }
        }
        let inside = container.object.lock(member);
        if !is_there() {
            drop(inside);
            drop(private);
            break Ok(Opened::Changed);
        }
        let object = match Object::find(member.arena, offset, serial) {
            Ok(object) => object,
            Err(error) => {
                drop(inside);
                drop(private);
                break Err(error);
            }
        };
        let Some(held) = object.try_lock(member) else {
            drop(inside);
            drop(private);
            wait_for(member, container, &object, &is_there);
            continue;
        };
        if let Some(block) = spare.take() {
            let _ = ledger::link(member, &object, &block);
        }
        let added = ledger::enter(member.arena, &object, member.local.owner);
        drop(held);
        drop(inside);
        if added == Added::Held {
            let holding = Holding { serial, handles: 1 };
            private.holdings.insert(offset, holding);
            drop(private);
            break Ok(Opened::Object(object));
        }
        drop(private);
        match ledger::make_block(member, &object) {
            Ok(block) => spare = Some(block),
            Err(error) => break Err(error),
        }
    };
    if let Some(block) = spare {
        member.free(&block);
    }
    outcome
}

/// Somebody has the object's lock, perhaps dead. It exists as long as it lies in the container, but
/// who waits for it must not have the container's lock: so only its word is looked at.
fn wait_for(member: Member, container: &Container, object: &Object, is_there: impl Fn() -> bool) {
    std::thread::yield_now();
    let _inside = container.object.lock(member);
    if !is_there() {
        return;
    }
    let word = object
        .header
        .lock
        .load(procession_sys::prim::Ordering::Acquire);
    let owner = OwnerId::of_word(word);
    if !owner.is_none() && member.arena.try_is_dead(owner).unwrap_or(false) {
        drop(object.lock_from(member, word));
    }
}
