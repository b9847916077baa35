//! Received blocks that forked children have copies of: not freed before those have ended.
//!
//! A child by fork has its parent's arrays, and those that were received lie in memory that both map.
//! The block is the parent's. Freed while the child reads it, it would soon hold something else; so
//! what was received before a fork outlives the child, or goes with the parent.

use procession_core::payload::ClaimedBlock;
use procession_shm::member::Member;
use procession_shm::{Liveness, OwnerId};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A child, and the how-many-eth fork it came of.
struct Child {
    fork: u64,
    parent: Member,
    owner: OwnerId,
}

/// A block that nobody here refers to any more.
struct Kept {
    claim: ClaimedBlock,
    member: Member,
    received: u64,
}

struct Keepers {
    children: Vec<Child>,
    kept: Vec<Kept>,
}

static FORKS: AtomicU64 = AtomicU64::new(0);
static DESCENT: AtomicU64 = AtomicU64::new(0);
static KEEPERS: Mutex<Keepers> = Mutex::new(Keepers {
    children: Vec::new(),
    kept: Vec::new(),
});

/// Never held while Python runs, so never while a thread forks.
fn keepers() -> MutexGuard<'static, Keepers> {
    KEEPERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Forks of this process so far: what is received now is not in their children.
pub(crate) fn forks() -> u64 {
    FORKS.load(Relaxed)
}

/// This process has forked: the newest child of each member has copies.
pub(crate) fn forked(members: impl Iterator<Item = Member>) {
    let fork = FORKS.fetch_add(1, Relaxed) + 1;
    let mut keepers = keepers();
    for parent in members {
        let newest = parent.local.private().children.last().copied();
        keepers.children.extend(newest.map(|owner| Child {
            fork,
            parent,
            owner,
        }));
    }
    keepers.settle();
}

/// Forks that lie between this process and the first of its line: another number is another process.
pub(crate) fn descent() -> u64 {
    DESCENT.load(Relaxed)
}

/// This process is a forked one: what its parent keeps is its parent's.
pub(crate) fn in_child() {
    DESCENT.fetch_add(1, Relaxed);
    let mut keepers = keepers();
    keepers.children.clear();
    keepers.kept.clear();
}

/// Frees a block that was received when there had been so many forks; later, if a child has it.
pub(crate) fn free(claim: ClaimedBlock, member: Member, received: u64) {
    if received == forks() {
        claim.free(member);
        return;
    }
    let mut keepers = keepers();
    keepers.kept.push(Kept {
        claim,
        member,
        received,
    });
    keepers.settle();
}

/// Frees what has waited for children that have ended.
pub(crate) fn settle() {
    keepers().settle();
}

impl Keepers {
    fn settle(&mut self) {
        self.children
            .retain(|child| !child.parent.arena.is_dead(child.owner));
        let children = &self.children;
        self.kept.retain(|kept| {
            let has_it = |child: &Child| child.fork > kept.received;
            let must_stay = children.iter().any(has_it);
            if !must_stay {
                kept.claim.free(kept.member);
            }
            must_stay
        });
    }
}
