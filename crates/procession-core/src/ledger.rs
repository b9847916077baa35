//! Who holds a handle to an object: the ledger that keeps it alive.
//!
//! One entry a process, one store each, under the object's internal lock. Three entries lie in
//! the header, more in chained blocks. An object without entries and pins is retracted inside
//! the lock, so that who dies while freeing it leaves plain garbage.
//!
//! ```text
//! add     1 lock   2 store the owner into a free entry   3 unlock
//! extend  0 block ALLOC, names its parent   1 lock   2 block.next = chain
//!         3 chain = block (commit)   4 block OWNED   5 unlock       repair: 4 for all linked
//! remove  1 lock   2 store 0   3 none left: object ALLOC by me   4 unlock   5 free
//! ```

use crate::carriers;
use crate::entries;
pub use crate::entries::{Added, MOST_CARRIERS, carrier_of};
use crate::kinds;
use crate::object::Object;
use procession_shm::block::Block;
use procession_shm::layout::{LedgerBlock, ObjectHeader};
use procession_shm::member::Member;
use procession_shm::span::Purpose;
use procession_shm::{Arena, ArenaError, Liveness, OwnerId};
use procession_sys::crash_point;
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::{Acquire, Relaxed, Release};

/// Adds `owner` to the object's holders; `NoMemory` leaves the ledger as it was.
pub fn add(member: Member, object: &Object, owner: OwnerId) -> Result<(), ArenaError> {
    loop {
        match try_add(member, object, owner) {
            Added::Held => return Ok(()),
            Added::Gone => return Err(object.gone()),
            Added::Full => extend(member, object)?,
        }
    }
}

/// Adds `owner` if an entry is free, or it has one already. Allocates nothing.
pub fn try_add(member: Member, object: &Object, owner: OwnerId) -> Added {
    let _held = object.lock(member);
    if !object.is_current() {
        return Added::Gone;
    }
    enter(member.arena, object, owner)
}

/// The rest of it, for who has the lock of an object that exists.
pub(crate) fn enter(arena: &Arena, object: &Object, owner: OwnerId) -> Added {
    if entries(arena, object.header).any(|entry| owner_of(entry) == owner) {
        return Added::Held;
    }
    store(arena, object, u64::from(owner.bits()))
}

fn store(arena: &Arena, object: &Object, bits: u64) -> Added {
    entries::enter(entries(arena, object.header), bits)
}

/// Adds the block at `offset` to the holders of an object that the caller holds.
pub(crate) fn add_carrier(member: Member, object: &Object, offset: u64) -> Result<(), ArenaError> {
    loop {
        let added = {
            let _held = object.lock(member);
            if !object.is_current() {
                return Err(object.gone());
            }
            let all = entries(member.arena, object.header);
            entries::enter_carrier(all, &object.header.pins, entries::of_carrier(offset))
        };
        match added {
            Added::Full => extend(member, object)?,
            _ => return Ok(()),
        }
    }
}

/// Adds `owner`, who is to open the object later, and notes `number` in its entry; false when it has
/// an entry already, which stays as it is.
pub fn lend(
    member: Member,
    object: &Object,
    owner: OwnerId,
    number: u32,
) -> Result<bool, ArenaError> {
    loop {
        let added = {
            let _held = object.lock(member);
            if !object.is_current() {
                return Err(object.gone());
            }
            if entries(member.arena, object.header).any(|entry| owner_of(entry) == owner) {
                return Ok(false);
            }
            store(member.arena, object, lent_entry(owner, number))
        };
        match added {
            Added::Full => extend(member, object)?,
            _ => return Ok(true),
        }
    }
}

/// Whether the entry of `owner` is the one that [`lend`] made with `number`.
#[must_use]
pub fn is_lent(arena: &Arena, object: &Object, owner: OwnerId, number: u32) -> bool {
    let lent = lent_entry(owner, number);
    entries(arena, object.header).any(|entry| entry.load(Acquire) == lent)
}

const fn lent_entry(owner: OwnerId, number: u32) -> u64 {
    (number as u64) << 32 | owner.bits() as u64
}

/// Removes the block at `offset`, which is the caller's; true when nobody is left and the object is
/// the caller's to free.
#[must_use]
pub(crate) fn remove_carrier(member: Member, object: &Object, offset: u64) -> bool {
    let _held = object.lock(member);
    if !object.is_current() {
        return false;
    }
    let all = entries(member.arena, object.header);
    entries::strike_carrier(all, entries::of_carrier(offset));
    crash_point!("ledger.removed");
    retract_if_unheld(member, object)
}

/// Removes `owner`; true when nobody is left and the object is the caller's to free.
#[must_use]
pub fn remove(member: Member, object: &Object, owner: OwnerId) -> bool {
    let _held = object.lock(member);
    if !object.is_current() {
        return false;
    }
    for (index, entry) in entries(member.arena, object.header).enumerate() {
        if owner_of(entry) == owner {
            kinds::settle(member, object, entry, index, None);
        }
    }
    crash_point!("ledger.removed");
    retract_if_unheld(member, object)
}

/// Removes every owner that `is_dead`; true when the object is the caller's to free.
///
/// An object that names a dead holder is freed by nobody else. One that only is locked by the
/// dead stays in its place as long as the lock's word does: `seen` is that word, and nothing
/// is touched when it has changed.
#[must_use]
pub fn remove_dead(
    member: Member,
    object: &Object,
    seen: Option<u32>,
    is_dead: impl Fn(OwnerId) -> bool + Copy,
) -> bool {
    let held = match seen {
        Some(seen) => object.lock_from(member, seen),
        None => Some(object.lock(member)),
    };
    let Some(held) = held.filter(|_| object.is_current()) else {
        return false;
    };
    kinds::bury(member, object, &held, is_dead);
    for (index, entry) in entries(member.arena, object.header).enumerate() {
        let owner = owner_of(entry);
        if carriers::is_stale(member.arena, object, entry, is_dead) {
            entry.store(0, Release);
        } else if !owner.is_none() && is_dead(owner) {
            let pid = member.arena.pid_of(owner);
            kinds::settle(member, object, entry, index, Some(pid));
        }
    }
    retract_if_unheld(member, object)
}

/// Keeps the object as long as its arena: a handle travels on its own.
pub fn pin(member: Member, object: &Object) {
    let _held = object.lock(member);
    object
        .header
        .pins
        .store(object.header.pins.load(Relaxed).saturating_add(1), Release);
}

/// How many processes hold the object.
#[must_use]
pub fn holders(arena: &Arena, header: &'static ObjectHeader) -> usize {
    entries(arena, header)
        .filter(|entry| entry.load(Relaxed) != 0)
        .count()
}

/// Every entry, free ones included.
pub fn entries<'a>(
    arena: &'a Arena,
    header: &'static ObjectHeader,
) -> impl Iterator<Item = &'static AtomicU64> + use<'a> {
    let chained = blocks(arena, header).flat_map(|(_, ledger)| ledger.holders.iter());
    header.holders.iter().chain(chained)
}

/// The chained blocks. A chain longer than an arena could hold is cut: fsck reports it.
pub fn blocks<'a>(
    arena: &'a Arena,
    header: &ObjectHeader,
) -> impl Iterator<Item = (Block, &'static LedgerBlock)> + use<'a> {
    let mut next = header.chain.load(Acquire);
    let mut left = procession_shm::layout::SLOTS;
    std::iter::from_fn(move || {
        if next == 0 || left == 0 {
            return None;
        }
        left -= 1;
        let block = arena.block_at(next).ok()?;
        let ledger: &LedgerBlock = arena.at(next).ok()?;
        next = ledger.next.load(Acquire);
        Some((block, ledger))
    })
}

/// Who an entry names.
pub fn owner_of(entry: &AtomicU64) -> OwnerId {
    OwnerId::of_word(entry.load(Acquire) as u32)
}

/// A block of entries for an object, ALLOC by us and not yet in its chain.
pub(crate) fn make_block(member: Member, object: &Object) -> Result<Block, ArenaError> {
    let block = member.allocate(size_of::<LedgerBlock>() as u64, Purpose::Ledger)?;
    let ledger: &LedgerBlock = member.arena.at(block.offset)?;
    for entry in &ledger.holders {
        entry.store(0, Relaxed);
    }
    ledger.parent.store(object.offset, Relaxed);
    ledger.parent_serial.store(object.serial, Relaxed);
    crash_point!("ledger.block_made");
    Ok(block)
}

/// Chains one more block of entries.
pub fn extend(member: Member, object: &Object) -> Result<(), ArenaError> {
    let block = make_block(member, object)?;
    let held = object.lock(member);
    if !object.is_current() {
        // The private mutex comes before internal locks.
        drop(held);
        member.free(&block);
        return Err(object.gone());
    }
    link(member, object, &block)
}

/// Chains a block that was made for the object, whose lock the caller has.
pub(crate) fn link(member: Member, object: &Object, block: &Block) -> Result<(), ArenaError> {
    let ledger: &LedgerBlock = member.arena.at(block.offset)?;
    ledger
        .next
        .store(object.header.chain.load(Relaxed), Relaxed);
    // Release pairs with the Acquire in `blocks`: a linked block is complete.
    object.header.chain.store(block.offset, Release);
    crash_point!("ledger.linked");
    let _ = block.publish(Purpose::Ledger, member.local.owner);
    crash_point!("ledger.published");
    Ok(())
}

fn retract_if_unheld(member: Member, object: &Object) -> bool {
    let all = entries(member.arena, object.header);
    entries::are_free(all, &object.header.pins)
        && object.block.retract(Purpose::Object, member.local.owner)
}
