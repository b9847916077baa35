//! Objects that lie in containers: each blob that refers to one is in the object's ledger.
//!
//! ```text
//! put in   1 the blob into the object's ledger   2 the blob into the container (commit)
//! take out 1 the blob out of the container       2 the blob out of the ledger   3 the blob freed
//! ```
//!
//! So an object lives as long as it lies anywhere. Killed in between: the ledger names a blob that
//! does not refer to the object, or is ALLOC by the dead: a sweep strikes it. An entry is the
//! blob's place and nothing more, because a blob leaves the ledger before its place is free.
//!
//! Whoever finds an object in a container opens it with the container locked: what lies in a locked
//! container exists. The object's own lock is only tried meanwhile, for containers may lie
//! in each other. A ring of containers that nobody holds stays as long as the arena.

use crate::blob::{self, Blob, Named};
use crate::container::Container;
use crate::ledger::{self, Added};
use crate::object::Object;
use crate::payload;
use crate::upkeep;
use procession_shm::block::Block;
use procession_shm::local::Holding;
use procession_shm::member::Member;
use procession_shm::span::{BlockState, Purpose};
use procession_shm::{Arena, ArenaError, OwnerId};
use procession_sys::crash_point;
use procession_sys::prim::AtomicU64;

/// Enters a new blob into the ledgers of what it refers to, all of which the caller holds.
pub fn enter(member: Member, blob: &Blob, named: &[Named]) -> Result<(), ArenaError> {
    for (offset, serial) in named {
        let entered = Object::find(member.arena, *offset, *serial)
            .and_then(|object| ledger::add_blob(member, &object, blob.block.offset));
        if let Err(error) = entered {
            discard(member, blob);
            return Err(error);
        }
        crash_point!("nested.entered");
    }
    Ok(())
}

/// Frees a blob that was put nowhere.
pub fn discard(member: Member, blob: &Blob) {
    let mut gone = Vec::new();
    let_go_of(member, &blob.block, &mut gone);
    member.free(&blob.block);
    destroy(member, gone);
}

/// Strikes a blob that is ours from the ledgers of what it refers to; what nobody else holds is
/// added to `gone`: ours to destroy.
pub(crate) fn let_go_of(member: Member, block: &Block, gone: &mut Vec<Object>) {
    if block.state() != Some(BlockState::Alloc(Purpose::Blob, member.local.owner)) {
        return; // a bank
    }
    let Some((_, view)) = blob::settled(member.arena, block) else {
        return;
    };
    for (offset, serial) in view.handles() {
        if let Ok(object) = Object::find(member.arena, offset, serial) {
            if ledger::remove_blob(member, &object, block.offset) {
                gone.push(object);
            }
        }
    }
}

/// Destroys objects that are ours, and what only they held, and so on.
pub(crate) fn destroy(member: Member, mut gone: Vec<Object>) {
    while let Some(object) = gone.pop() {
        object.destroy_alone(member, &mut gone);
    }
}

/// Whether an entry names a blob, or a payload, that does not keep the object.
pub(crate) fn is_stale(
    arena: &Arena,
    object: &Object,
    entry: &AtomicU64,
    is_dead: impl Fn(OwnerId) -> bool,
) -> bool {
    let Some(offset) = ledger::blob_of(entry) else {
        return false;
    };
    let Ok(block) = arena.block_at(offset) else {
        return true;
    };
    let named = (object.offset, object.serial);
    let keeps = match block.state() {
        Some(BlockState::Owned(Purpose::Payload)) => {
            return !payload::names(arena, &block).any(|name| name == named);
        }
        Some(
            BlockState::Alloc(Purpose::Payload, owner) | BlockState::Claim(Purpose::Payload, owner),
        ) => {
            return is_dead(owner) || !payload::names(arena, &block).any(|name| name == named);
        }
        Some(BlockState::Owned(Purpose::Blob)) => true,
        Some(BlockState::Alloc(Purpose::Blob, owner)) => {
            !is_dead(owner) || upkeep::is_linked(arena, &block, Purpose::Blob)
        }
        _ => false,
    };
    !keeps
        || blob::settled(arena, &block)
            .is_none_or(|(_, view)| view.handles().all(|handle| handle != named))
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
