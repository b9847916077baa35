//! Who holds an object, on a real arena: each promise of a ledger that no other test needs.
#![allow(missing_docs)]
#![cfg(not(loom))]

mod common;

use common::{assert_clean, chain, create, hold, new_member, one_dead};
use procession_core::{fsck, ledger, payload, sweep};
use procession_shm::layout::{LedgerBlock, PayloadHeader, SLOTS};
use procession_shm::span::{BlockState, Purpose};
use procession_shm::{ArenaError, OwnerId};
use procession_sys::prim::Ordering::{Relaxed, Release};

#[test]
fn nobody_enters_twice() {
    let member = new_member();
    let object = create(member, 100);
    let others = hold(member, &object, 1);
    ledger::add(member, &object, others[0].owner).unwrap();
    ledger::add(member, &object, member.local.owner).unwrap();
    assert_eq!(ledger::holders(member.arena, object.header), 2);
    assert!(!ledger::remove(member, &object, others[0].owner));
    object.drop_handle(member);
    assert_clean(member, 0);
}

#[test]
fn the_last_holder_frees_it_and_none_before() {
    let member = new_member();
    let object = create(member, 100);
    let others = hold(member, &object, 12);
    for other in &others {
        assert!(!ledger::remove(member, &object, other.owner));
    }
    assert!(object.is_current());
    object.drop_handle(member);
    assert!(!object.is_current());
    assert_clean(member, 0);
}

#[test]
fn what_is_gone_is_lent_to_nobody_and_not_removed_from() {
    let member = new_member();
    let first = create(member, 100);
    first.drop_handle(member);
    let second = create(member, 100);
    assert_eq!(first.offset, second.offset, "the place was used again");
    let other = member.arena.reserve().unwrap();
    let lent = ledger::lend(member, &first, other.owner, 1);
    assert!(matches!(lent, Err(ArenaError::Stale(_))), "{lent:?}");
    let blocks = fsck::fsck(member.arena).unwrap().blocks;
    let extended = ledger::extend(member, &first);
    assert!(matches!(extended, Err(ArenaError::Stale(_))));
    assert_eq!(fsck::fsck(member.arena).unwrap().blocks, blocks);
    assert_eq!(ledger::holders(member.arena, second.header), 1);
    assert!(!ledger::remove(member, &first, member.local.owner));
    assert_eq!(ledger::holders(member.arena, second.header), 1);
    second.drop_handle(member);
    assert_clean(member, 0);
}

#[test]
fn what_is_pinned_stays_however_often() {
    let member = new_member();
    let object = create(member, 100);
    object.header.pins.store(u32::MAX, Release);
    ledger::pin(member, &object);
    assert_eq!(object.header.pins.load(Relaxed), u32::MAX);
    object.drop_handle(member);
    assert!(object.is_current());
    assert_clean(member, 1);
}

#[test]
fn the_dead_hold_nothing() {
    let member = new_member();
    let object = create(member, 100);
    let others = hold(member, &object, 3);
    for _ in 0..3 {
        ledger::add(member, &object, one_dead(member.arena)).unwrap();
    }
    sweep::sweep(member).unwrap();
    assert_eq!(ledger::holders(member.arena, object.header), 4);
    drop(others);
    object.drop_handle(member);
    sweep::sweep(member).unwrap();
    assert_clean(member, 0);
}

/// A sweeper that saw the lock with a dead holder touches nothing once it has changed hands.
#[test]
fn the_dead_are_removed_while_the_lock_was_seen_with_them_only() {
    let member = new_member();
    let object = create(member, 100);
    let dead = one_dead(member.arena);
    ledger::add(member, &object, dead).unwrap();
    let is_dead = |owner: OwnerId| owner == dead;
    assert!(!ledger::remove_dead(
        member,
        &object,
        Some(dead.bits()),
        is_dead
    ));
    assert_eq!(
        ledger::holders(member.arena, object.header),
        2,
        "the lock is free"
    );
    object.header.lock.store(dead.bits(), Release);
    assert!(!ledger::remove_dead(
        member,
        &object,
        Some(dead.bits()),
        is_dead
    ));
    assert_eq!(ledger::holders(member.arena, object.header), 1);
    object.drop_handle(member);
    assert_clean(member, 0);
}

#[test]
fn blocks_are_all_in_the_chain_and_begin_empty() {
    let member = new_member();
    // What they are made of was full of other things before.
    let room = (size_of::<LedgerBlock>() - size_of::<PayloadHeader>()) as u64;
    let dirty: Vec<_> = (0..8)
        .map(|_| payload::prepare(member, room).unwrap())
        .collect();
    for block in dirty {
        block.write(member, 0, &vec![0xAB; room as usize]).unwrap();
        block.discard(member);
    }
    let object = create(member, 100);
    let others = hold(member, &object, 40);
    let blocks = chain(member, &object);
    assert!(blocks.len() > 2, "{blocks:?}");
    assert!(
        blocks
            .iter()
            .all(|state| *state == Some(BlockState::Owned(Purpose::Ledger)))
    );
    assert_eq!(ledger::holders(member.arena, object.header), 41);
    for (_, ledger) in ledger::blocks(member.arena, object.header) {
        let named = (
            ledger.parent.load(Relaxed),
            ledger.parent_serial.load(Relaxed),
        );
        assert_eq!(named, (object.offset, object.serial));
    }
    for other in &others {
        assert!(!ledger::remove(member, &object, other.owner));
    }
    object.drop_handle(member);
    assert_clean(member, 0);
}

/// Not by us: but whoever reads it comes to an end.
#[test]
fn a_ring_of_blocks_is_read_to_an_end() {
    let member = new_member();
    let object = create(member, 100);
    let others = hold(member, &object, 20);
    let (last, first) = {
        let mut all = ledger::blocks(member.arena, object.header);
        let first = all.next().unwrap().0.offset;
        (all.last().unwrap().1, first)
    };
    last.next.store(first, Release);
    assert!(ledger::blocks(member.arena, object.header).count() <= SLOTS);
    assert!(!fsck::fsck(member.arena).unwrap().inconsistent.is_empty());
    last.next.store(0, Release);
    for other in &others {
        assert!(!ledger::remove(member, &object, other.owner));
    }
    object.drop_handle(member);
    assert_clean(member, 0);
}
