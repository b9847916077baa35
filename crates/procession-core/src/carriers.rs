//! Blocks that refer to objects: the blob of a value in a container, the list of what is enclosed
//! with a message. Each is in the ledger of all that it lists, by its place.
//!
//! ```text
//! enter  1 the block written, ALLOC by me   2 into the ledgers   3 into the container, or the queue (commit)
//! leave  1 out of there: ALLOC by me        2 out of the ledgers  3 freed
//! ```
//!
//! So an object lives as long as anything that carries it, and nothing has to be counted. The truth is
//! in the block: an entry is stale when the block there does not list the object, or is of the dead.
//! An entry is a place and nothing more, because a block leaves the ledgers before its place is free.
//! Only what has died may leave a stale one: a sweep strikes it.

use crate::blob::{self, Named};
use crate::enclosures;
use crate::ledger;
use crate::object::Object;
use crate::upkeep;
use procession_shm::block::Block;
use procession_shm::member::Member;
use procession_shm::span::{BlockState, Purpose};
use procession_shm::{Arena, ArenaError, OwnerId};
use procession_sys::prim::AtomicU64;

/// Enters a block of ours into the ledgers of what it lists, all of which the caller holds; `then`
/// after each. After an error the block is to be let go of.
pub(crate) fn enter(
    member: Member,
    block: &Block,
    named: &[Named],
    then: impl Fn(),
) -> Result<(), ArenaError> {
    for (offset, serial) in named {
        let object = Object::find(member.arena, *offset, *serial)?;
        ledger::add_carrier(member, &object, block.offset)?;
        then();
    }
    Ok(())
}

/// The objects that a block lists. Whoever may free it must not do so meanwhile.
fn listed(arena: &Arena, block: &Block, purpose: Purpose) -> Vec<Named> {
    match purpose {
        Purpose::Blob => {
            blob::settled(arena, block).map_or(Vec::new(), |(_, view)| view.handles().collect())
        }
        Purpose::Payload => enclosures::listed(arena, block),
        _ => Vec::new(),
    }
}

/// Strikes a block that is ours from the ledgers of what it lists, before it is freed; what nobody
/// else holds is added to `gone`: ours to destroy.
pub(crate) fn let_go_of(member: Member, block: &Block, gone: &mut Vec<Object>) {
    let me = member.local.owner;
    let Some(BlockState::Alloc(purpose, owner)) = block.state() else {
        return;
    };
    if owner != me {
        return;
    }
    for (offset, serial) in listed(member.arena, block, purpose) {
        if let Ok(object) = Object::find(member.arena, offset, serial) {
            if ledger::remove_carrier(member, &object, block.offset) {
                gone.push(object);
            }
        }
    }
}

/// Frees a block that is ours, and what only it kept alive.
pub(crate) fn free(member: Member, block: &Block) {
    let mut gone = Vec::new();
    let_go_of(member, block, &mut gone);
    member.free(block);
    destroy(member, gone);
}

/// Destroys objects that are ours, and what only they held, and so on.
pub(crate) fn destroy(member: Member, mut gone: Vec<Object>) {
    while let Some(object) = gone.pop() {
        object.destroy_alone(member, &mut gone);
    }
}

/// Whether an entry names a block that does not keep the object.
///
/// What the dead had of a queue has gone back to it, or is theirs for good, when a sweep asks: it
/// has taken over their locks before. A container is asked.
pub(crate) fn is_stale(
    arena: &Arena,
    object: &Object,
    entry: &AtomicU64,
    is_dead: impl Fn(OwnerId) -> bool,
) -> bool {
    let Some(offset) = ledger::carrier_of(entry) else {
        return false;
    };
    let Ok(block) = arena.block_at(offset) else {
        return true;
    };
    let is_linked = || upkeep::is_linked(arena, &block, Purpose::Blob);
    let Some(purpose) = keeps(block.state(), is_dead, is_linked) else {
        return true;
    };
    let named = (object.offset, object.serial);
    !listed(arena, &block, purpose).contains(&named)
}

/// As what a block in this state keeps what it lists, if it does: it is put down, or the living have it.
pub fn keeps(
    state: Option<BlockState>,
    is_dead: impl Fn(OwnerId) -> bool,
    is_linked: impl FnOnce() -> bool,
) -> Option<Purpose> {
    match state? {
        BlockState::Owned(purpose) => Some(purpose),
        BlockState::Alloc(Purpose::Blob, owner) if is_dead(owner) => {
            is_linked().then_some(Purpose::Blob)
        }
        BlockState::Alloc(purpose, owner) | BlockState::Claim(purpose, owner) => {
            (!is_dead(owner)).then_some(purpose)
        }
        BlockState::Free => None,
    }
}
