//! What is enclosed with messages, on a real arena: it lives as long as any of them, and no longer.
#![allow(missing_docs)]
#![cfg(not(loom))]

mod common;

use common::{assert_clean, create, in_a_child, new_member, one_dead};
use procession_core::enclosures;
use procession_core::ledger::{self, MOST_CARRIERS};
use procession_core::payload::{self, ClaimedBlock, PreparedBlock};
use procession_core::queue::{Got, Message, Put, Queue, Terms, mode};
use procession_core::semaphore::Semaphore;
use procession_core::{Object, ObjectKind, fork, sweep};
use procession_shm::ArenaError;
use procession_shm::layout::SemaphoreLine;
use procession_shm::member::Member;
use procession_sys::prim::Ordering::{Acquire, Relaxed, Release};

const REDELIVERING: Terms = Terms {
    maxsize: 0,
    mode: mode::ACKNOWLEDGING | mode::REDELIVERING,
    producers: 0,
    max_deliveries: 1,
};

/// A list of them, as a message has it.
fn enclose(member: Member, objects: &[&Object]) -> PreparedBlock {
    let named: Vec<_> = objects.iter().map(|of| (of.offset, of.serial)).collect();
    enclosures::enclose(member, &named).unwrap()
}

fn view(member: Member, object: &Object) -> Queue<'_> {
    let line = object.body(member.arena).unwrap();
    Queue { object, line }
}

fn put(member: Member, queue: &Object, list: PreparedBlock) {
    let message = Message {
        flags: 0,
        inline: b"",
        blocks: &[list],
    };
    let put = view(member, queue).try_put(member, message).unwrap();
    assert_eq!(put, Put::Done);
}

fn get(member: Member, queue: &Object) -> Vec<ClaimedBlock> {
    match view(member, queue)
        .try_get(member, &mut Vec::new())
        .unwrap()
    {
        Got::Message { blocks, .. } => blocks,
        other => panic!("{other:?}"),
    }
}

fn is_there(member: Member, object: &Object) -> bool {
    Object::find(member.arena, object.offset, object.serial).is_ok()
}

/// Opens what the list of a message we took names, and frees the list.
fn open(member: Member, blocks: &[ClaimedBlock]) -> Vec<Object> {
    let mut bytes = vec![0; blocks[0].len() as usize];
    blocks[0].read(member, 0, &mut bytes).unwrap();
    let words: Vec<_> = bytes
        .chunks_exact(8)
        .map(|word| u64::from_le_bytes(word.try_into().unwrap()))
        .collect();
    let opened = words
        .chunks_exact(2)
        .map(|pair| Object::open(member, pair[0], pair[1], |_| true).unwrap())
        .collect();
    assert!(blocks[0].free(member));
    opened
}

#[test]
fn it_lives_as_long_as_the_message() {
    let member = new_member();
    let queue = Queue::create(member, 0, false).unwrap();
    let (one, other) = (create(member, 100), create(member, 100));
    put(member, &queue, enclose(member, &[&one, &other, &one]));
    assert_eq!(
        ledger::holders(member.arena, one.header),
        2,
        "named twice, entered once"
    );
    one.drop_handle(member);
    other.drop_handle(member);
    assert_clean(member, 3);
    let opened = open(member, &get(member, &queue));
    assert_eq!(ledger::holders(member.arena, one.header), 1);
    assert_clean(member, 3);
    for object in opened {
        object.drop_handle(member);
    }
    assert_clean(member, 1);
}

#[test]
fn what_is_not_sent_lets_go() {
    let member = new_member();
    let (one, other) = (create(member, 100), create(member, 100));
    let list = enclose(member, &[&one, &other]);
    one.drop_handle(member);
    assert!(is_there(member, &one));
    list.discard(member);
    assert!(!is_there(member, &one));
    assert_eq!(ledger::holders(member.arena, other.header), 1);
    assert_clean(member, 1);
}

#[test]
fn what_is_not_received_lets_go() {
    let member = new_member();
    let queue = Queue::create(member, 0, false).unwrap();
    let object = create(member, 100);
    put(member, &queue, enclose(member, &[&object]));
    object.drop_handle(member);
    let blocks = get(member, &queue);
    assert!(blocks[0].free(member), "and nobody opened anything");
    assert!(!is_there(member, &object));
    assert_clean(member, 1);
}

#[test]
fn what_one_cannot_be_found_for_leaves_no_other_behind() {
    let member = new_member();
    let (one, gone) = (create(member, 100), create(member, 100));
    gone.drop_handle(member);
    let named = [(one.offset, one.serial), (gone.offset, gone.serial)];
    let refused = enclosures::enclose(member, &named);
    assert!(matches!(refused, Err(ArenaError::Stale(_))), "{refused:?}");
    assert_eq!(ledger::holders(member.arena, one.header), 1);
    one.drop_handle(member);
    assert_clean(member, 0);
}

#[test]
fn queues_in_queues_go_with_the_outermost() {
    let member = new_member();
    let mut outer = Queue::create(member, 0, false).unwrap();
    for _ in 0..30 {
        let inner = std::mem::replace(&mut outer, Queue::create(member, 0, false).unwrap());
        put(member, &outer, enclose(member, &[&inner]));
        inner.drop_handle(member);
    }
    assert_clean(member, 31);
    outer.drop_handle(member);
    assert_clean(member, 0);
}

#[test]
fn who_gets_a_message_again_gets_all_that_is_enclosed() {
    let member = new_member();
    let queue = Queue::create_with(member, REDELIVERING).unwrap();
    let letters = Queue::create(member, 0, false).unwrap();
    let object = create(member, 100);
    put(member, &queue, enclose(member, &[&object]));
    object.drop_handle(member);
    let taken = view(member, &queue);
    let Got::Message { blocks, ticket, .. } = taken.try_get(member, &mut Vec::new()).unwrap()
    else {
        panic!("it is there");
    };
    assert_eq!(
        ledger::holders(member.arena, object.header),
        2,
        "the queue's, and ours"
    );
    assert!(taken.give_back(member, ticket).is_some());
    let moved = taken.move_letters(member, view(member, &letters)).unwrap();
    assert_eq!(moved.0, 1);
    assert!(blocks[0].free(member), "the first copy");
    assert_eq!(ledger::holders(member.arena, object.header), 1);
    let again = open(member, &get(member, &letters));
    assert_eq!(again[0].serial, object.serial);
    again[0].drop_handle(member);
    assert_clean(member, 2);
}

#[test]
fn what_very_many_messages_name_is_pinned() {
    let member = new_member();
    let object = create(member, 100);
    let lists: Vec<_> = (0..=MOST_CARRIERS)
        .map(|_| enclose(member, &[&object]))
        .collect();
    // Us, and as many as get an entry.
    let entries = ledger::holders(member.arena, object.header);
    assert_eq!(entries, 1 + MOST_CARRIERS, "the last one pinned it");
    let more = enclose(member, &[&object]);
    assert_eq!(
        ledger::holders(member.arena, object.header),
        entries,
        "needs no entry any more"
    );
    for list in lists.into_iter().chain([more]) {
        list.discard(member);
    }
    assert_eq!(ledger::holders(member.arena, object.header), 1);
    let again = enclose(member, &[&object]);
    assert_eq!(ledger::holders(member.arena, object.header), 1, "only we");
    again.discard(member);
    object.drop_handle(member);
    assert_clean(member, 1);
}

/// What is enclosed with a message that this process prepares, and one that it takes, when another has died.
#[test]
fn a_sweep_leaves_what_the_living_enclose() {
    let member = new_member();
    let queue = Queue::create(member, 0, false).unwrap();
    let objects = [(); 3].map(|()| create(member, 100));
    let [prepared, taken, put_down] = &objects;
    let list = enclose(member, &[prepared]);
    put(member, &queue, enclose(member, &[taken]));
    put(member, &queue, enclose(member, &[put_down]));
    let blocks = get(member, &queue);
    // A dead holder of each, so that the sweep looks at their ledgers.
    for object in &objects {
        ledger::add(member, object, one_dead(member.arena)).unwrap();
        object.drop_handle(member);
    }
    sweep::sweep(member).unwrap();
    assert!(objects.iter().all(|object| is_there(member, object)));
    assert_clean(member, 4);
    list.discard(member);
    assert!(blocks[0].free(member));
    assert!(get(member, &queue)[0].free(member));
    assert_clean(member, 1);
}

/// Killed with a list that is not sent, and with one that it took.
#[test]
fn a_sweep_strikes_what_the_dead_enclosed() {
    let member = new_member();
    let queue = Queue::create(member, 0, false).unwrap();
    let (one, other) = (create(member, 100), create(member, 100));
    put(member, &queue, enclose(member, &[&one]));
    fork::before();
    assert!(in_a_child(|| {
        fork::in_child();
        let victim = fork::member(member.arena).unwrap();
        let _ = enclose(victim, &[&one, &other]);
        assert_eq!(get(victim, &queue).len(), 1);
    }));
    fork::in_parent();
    assert_eq!(
        ledger::holders(member.arena, one.header),
        4,
        "we, the victim, two of its blocks"
    );
    sweep::sweep(member).unwrap();
    assert_eq!(ledger::holders(member.arena, one.header), 1);
    assert_eq!(ledger::holders(member.arena, other.header), 1);
    one.drop_handle(member);
    other.drop_handle(member);
    assert_clean(member, 1);
}

/// An entry is a place: who finds something else there has found a stale one.
#[test]
fn an_entry_whose_place_has_another_use_is_stale() {
    let member = new_member();
    let (one, other) = (create(member, 100), create(member, 100));
    let list = enclose(member, &[&one]);
    let entry = ledger::entries(member.arena, one.header).nth(1).unwrap();
    let bits = entry.load(Acquire);
    list.discard(member);
    assert_eq!(entry.load(Acquire), 0);
    // As a process leaves it that dies in the middle of letting go; and its place has been used again.
    entry.store(bits, Release);
    let again = enclose(member, &[&other]);
    assert_eq!(again.offset(), list.offset());
    ledger::add(member, &one, one_dead(member.arena)).unwrap();
    sweep::sweep(member).unwrap();
    assert_eq!(ledger::holders(member.arena, one.header), 1);
    assert_eq!(ledger::holders(member.arena, other.header), 2);
    again.discard(member);
    one.drop_handle(member);
    other.drop_handle(member);
    assert_clean(member, 0);
}

#[test]
fn messages_hold_no_permits() {
    let member = new_member();
    let object = Object::create(
        member,
        ObjectKind::Semaphore,
        size_of::<SemaphoreLine>() as u64,
        |object| {
            let line: &SemaphoreLine = object.body(member.arena)?;
            line.value.store(3, Relaxed);
            line.total.store(3, Relaxed);
            line.maximum.store(3, Relaxed);
            Ok(())
        },
    );
    let object = object.unwrap();
    let line = object.body(member.arena).unwrap();
    let semaphore = Semaphore {
        object: &object,
        line,
    };
    let list = enclose(member, &[&object]);
    assert!(semaphore.try_acquire(member));
    // Whoever takes the lock over from the dead counts all anew.
    object
        .header
        .lock
        .store(one_dead(member.arena).bits(), Release);
    drop(object.lock(member));
    assert_eq!(semaphore.value(member), 2, "only what we took is out");
    assert!(semaphore.release(member));
    list.discard(member);
    object.drop_handle(member);
    assert_clean(member, 0);
}

/// A block that lists nothing is none of our business.
#[test]
fn a_list_of_nothing_is_a_block_like_any_other() {
    let member = new_member();
    enclosures::enclose(member, &[]).unwrap().discard(member);
    payload::prepare(member, 64).unwrap().discard(member);
    assert_clean(member, 0);
}
