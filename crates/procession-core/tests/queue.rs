//! A queue on a real arena: order, room, memory, the end.
#![allow(missing_docs)]
#![cfg(not(loom))]

mod common;

use common::{assert_clean, in_a_child, new_member};
use procession_core::lock::{Waited, Waiting};
use procession_core::object::BODY;
use procession_core::payload::{self, ClaimedBlock};
use procession_core::queue::{Got, Item, Message, Put, Queue};
use procession_core::{Object, ObjectKind, fork, sweep};
use procession_shm::local::Holdings;
use procession_shm::member::Member;
use procession_shm::span::SpanState;
use procession_sys::clock::Deadline;
use proptest::prelude::*;
use std::collections::VecDeque;

fn make(member: Member, maxsize: u64) -> Object {
    Queue::create(member, maxsize, false).unwrap()
}

fn queue(member: Member, object: &Object) -> Queue<'_> {
    let line = object.body(member.arena).unwrap();
    Queue { object, line }
}

fn put(queue: Queue<'_>, member: Member, bytes: &[u8]) -> Put {
    queue.try_put(member, Message::of(7, bytes)).unwrap()
}

/// The next message's bytes; None when there is none.
fn get(queue: Queue<'_>, member: Member) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    match queue.try_get(member, &mut bytes).unwrap() {
        Got::Message { flags, blocks, .. } => {
            assert_eq!((flags, blocks.len()), (7, 0));
            Some(bytes)
        }
        Got::Empty | Got::Shut => None,
    }
}

/// Spans in use, class spans left out: those stay for reuse.
fn runs(member: Member) -> usize {
    let spans = member.arena.spans();
    spans
        .filter(|(_, state)| matches!(state, SpanState::Run(..) | SpanState::Tail(_)))
        .count()
}

#[test]
fn what_is_put_is_got_in_order() {
    let member = new_member();
    let object = make(member, 0);
    let queue = queue(member, &object);
    assert_eq!(get(queue, member), None);
    for size in [0, 1, 7, 8, 9, 1000, 32 << 10] {
        assert_eq!(put(queue, member, &vec![size as u8; size]), Put::Done);
    }
    assert_eq!((queue.len(), queue.is_empty()), (7, false));
    for size in [0, 1, 7, 8, 9, 1000, 32 << 10] {
        assert_eq!(get(queue, member), Some(vec![size as u8; size]));
    }
    assert_eq!(get(queue, member), None);
    assert_eq!(queue.put_bytes(), queue.got_bytes());
    assert_clean(member, 1);
    object.drop_handle(member);
    assert_clean(member, 0);
    assert_eq!(runs(member), 0);
}

#[test]
fn more_than_an_inline_message_is_refused() {
    let member = new_member();
    let object = make(member, 0);
    let queue = queue(member, &object);
    let much = vec![0; (32 << 10) + 1];
    assert!(queue.try_put(member, Message::of(0, &much)).is_err());
    assert!(queue.is_empty());
}

#[test]
fn a_bounded_queue_is_full_when_it_is() {
    let member = new_member();
    let object = make(member, 3);
    let queue = queue(member, &object);
    for round in 0..5 {
        for number in 0..3 {
            assert!(!queue.is_full());
            assert_eq!(put(queue, member, &[round, number]), Put::Done);
        }
        assert!(queue.is_full() && !queue.has_room());
        assert_eq!(put(queue, member, &[9]), Put::Full);
        for number in 0..3 {
            assert_eq!(get(queue, member), Some(vec![round, number]));
        }
    }
}

#[test]
fn chunks_are_reused_while_the_queue_is_short_and_freed_when_it_was_long() {
    let member = new_member();
    let object = make(member, 0);
    let queue = queue(member, &object);
    let message = [1; 1000];
    for _ in 0..1000 {
        let _ = put(queue, member, &message);
        assert!(get(queue, member).is_some());
    }
    assert_eq!(runs(member), 2, "one in use and one spare");
    for _ in 0..1000 {
        let _ = put(queue, member, &message);
    }
    assert!(runs(member) > 14);
    assert_clean(member, 1);
    while get(queue, member).is_some() {}
    assert_eq!(runs(member), 2);
    assert_clean(member, 1);
    object.drop_handle(member);
    assert_eq!(runs(member), 0);
    assert_clean(member, 0);
}

#[test]
fn a_freed_queue_frees_its_chunks_and_blocks() {
    let member = new_member();
    let object = make(member, 0);
    let queue = queue(member, &object);
    for number in 0..300 {
        let blocks = [
            payload::prepare(member, 100).unwrap(),
            payload::prepare(member, 100_000).unwrap(),
        ];
        let message = Message {
            flags: number,
            inline: &[0; 900],
            blocks: &blocks,
        };
        assert_eq!(queue.try_put(member, message).unwrap(), Put::Done);
    }
    assert_clean(member, 1);
    object.drop_handle(member);
    assert_clean(member, 0);
    assert_eq!(runs(member), 0);
}

#[test]
fn bytes_are_found_in_the_buffer_they_lie_in() {
    let member = new_member();
    for nbytes in [100, 100_000, 1 << 20] {
        let buffer = Object::create(member, ObjectKind::Buffer, nbytes, |_| Ok(())).unwrap();
        let start = member.arena.bytes(buffer.offset + BODY, nbytes).unwrap();
        let find = |from: u64, length: u64| {
            let found = Object::lending(member, start.as_ptr() as usize + from as usize, length);
            found.map(|(object, from)| (object.offset, from))
        };
        assert_eq!(find(0, nbytes), Some((buffer.offset, 0)));
        assert_eq!(find(7, nbytes - 7), Some((buffer.offset, 7)));
        assert_eq!(find(7, nbytes), None, "beyond its end");
        buffer.drop_handle(member);
        assert_eq!(find(0, nbytes), None);
    }
    let memory = Object::create(member, ObjectKind::Memory, 1000, |_| Ok(())).unwrap();
    let start = member.arena.bytes(memory.offset + BODY, 1000).unwrap();
    let found = Object::lending(member, start.as_ptr() as usize, 1000);
    assert!(found.is_none(), "only Buffers are lent");
    assert!(Object::lending(member, &raw const member as usize, 8).is_none());
    memory.drop_handle(member);
    assert_clean(member, 0);
}

fn get_block(queue: Queue<'_>, member: Member) -> ClaimedBlock {
    match queue.try_get(member, &mut Vec::new()).unwrap() {
        Got::Message { blocks, .. } => blocks[0],
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_block_is_handed_over_and_freed_once() {
    let member = new_member();
    let object = make(member, 0);
    let queue = queue(member, &object);
    let block = payload::prepare(member, 1 << 20).unwrap();
    assert_eq!(block.offset() % 64, 0);
    block.write(member, 10, b"hello").unwrap();
    assert!(block.write(member, (1 << 20) - 4, b"hello").is_err());
    let message = Message {
        flags: 1,
        inline: b"envelope",
        blocks: &[block],
    };
    assert_eq!(queue.try_put(member, message).unwrap(), Put::Done);
    let got = get_block(queue, member);
    assert_eq!(got.len(), 1 << 20);
    let mut bytes = [0; 5];
    got.read(member, 10, &mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");
    assert_clean(member, 1);
    let again = got.send_on(member).unwrap();
    assert!(got.send_on(member).is_none() && !got.free(member));
    let message = Message {
        flags: 1,
        inline: b"",
        blocks: &[again],
    };
    assert_eq!(queue.try_put(member, message).unwrap(), Put::Done);
    let got = get_block(queue, member);
    got.read(member, 10, &mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");
    assert!(got.free(member) && !got.free(member));
    assert_eq!(runs(member), 1, "the chunk");
}

#[test]
fn a_block_of_a_full_queue_stays_ours() {
    let member = new_member();
    let object = make(member, 1);
    let queue = queue(member, &object);
    let _ = put(queue, member, b"first");
    let block = payload::prepare(member, 100_000).unwrap();
    let message = Message {
        flags: 0,
        inline: b"",
        blocks: &[block],
    };
    assert_eq!(queue.try_put(member, message).unwrap(), Put::Full);
    let _ = queue.shutdown(member, false);
    assert_eq!(queue.try_put(member, message).unwrap(), Put::Shut);
    block.discard(member);
    assert_clean(member, 1);
}

#[test]
fn many_go_at_once() {
    let member = new_member();
    let object = make(member, 5000);
    let queue = queue(member, &object);
    let bytes: Vec<[u8; 100]> = (0..=255).map(|number| [number; 100]).collect();
    let messages: Vec<_> = (0..6000)
        .map(|number| Message::of(number as u32, &bytes[number % 256]))
        .collect();
    assert_eq!(
        queue.try_put_many(member, &messages).unwrap(),
        (5000, Put::Full)
    );
    let (mut into, mut items) = (Vec::new(), Vec::<Item>::new());
    assert!(
        queue
            .try_get_many(member, 7, &mut into, &mut items)
            .unwrap()
            .is_none()
    );
    assert_eq!((items.len(), queue.len()), (7, 4993));
    while queue
        .try_get_many(member, 900, &mut into, &mut items)
        .unwrap()
        .is_none()
    {}
    assert_eq!(items.len(), 5000);
    for (number, item) in items.iter().enumerate() {
        assert_eq!(item.flags as usize, number);
        assert_eq!(into[item.bytes.clone()], bytes[number % 256]);
    }
    assert_clean(member, 1);
}

#[test]
fn a_shut_queue_gives_out_the_rest() {
    let member = new_member();
    let object = make(member, 0);
    let queue = queue(member, &object);
    let _ = put(queue, member, b"1");
    let _ = put(queue, member, b"2");
    assert!(queue.shutdown(member, false).is_empty() && queue.is_shut());
    assert_eq!(put(queue, member, b"3"), Put::Shut);
    assert_eq!(get(queue, member), Some(b"1".to_vec()));
    assert_eq!(get(queue, member), Some(b"2".to_vec()));
    assert!(matches!(
        queue.try_get(member, &mut Vec::new()).unwrap(),
        Got::Shut
    ));
}

#[test]
fn a_queue_shut_at_once_drops_the_rest() {
    let member = new_member();
    let object = make(member, 0);
    let queue = queue(member, &object);
    for _ in 0..200 {
        let blocks = [payload::prepare(member, 70_000).unwrap()];
        let message = Message {
            flags: 0,
            inline: &[0; 2000],
            blocks: &blocks,
        };
        let _ = queue.try_put(member, message).unwrap();
    }
    let _ = queue.shutdown(member, true);
    assert!(matches!(
        queue.try_get(member, &mut Vec::new()).unwrap(),
        Got::Shut
    ));
    assert!(queue.is_empty());
    assert!(runs(member) <= 2);
    assert_clean(member, 1);
}

#[test]
fn waits_end_with_what_they_wait_for() {
    let member = new_member();
    let object = make(member, 1);
    let queue = queue(member, &object);
    let soon = || Waiting::until(Deadline::after_seconds(0.01));
    assert_eq!(queue.wait_item(member, &soon()), Some(Waited::TimedOut));
    assert_eq!(queue.wait_room(member, &soon()), None);
    let _ = put(queue, member, b"1");
    assert_eq!(queue.wait_item(member, &soon()), None);
    assert_eq!(queue.wait_room(member, &soon()), Some(Waited::TimedOut));
    let _ = queue.shutdown(member, false);
    assert_eq!(queue.wait_room(member, &soon()), None);
    std::thread::scope(|scope| {
        let object = make(member, 1);
        let own = super_queue(member, &object);
        let waits = scope.spawn(move || {
            let waiting = Waiting::until(Deadline::NEVER);
            loop {
                if let Some(bytes) = get(own, member) {
                    return bytes;
                }
                let _ = own.wait_item(member, &waiting);
            }
        });
        while own.waiting_consumers() == 0 {
            std::thread::yield_now();
        }
        let _ = put(own, member, b"woken");
        assert_eq!(waits.join().unwrap(), b"woken");
    });
}

fn super_queue(member: Member, object: &Object) -> Queue<'static> {
    let object: &'static Object = Box::leak(Box::new(*object));
    queue(member, object)
}

#[test]
fn a_forked_child_and_its_parent_share_a_queue() {
    let member = new_member();
    let object = make(member, 0);
    let there = super_queue(member, &object);
    fork::before();
    let fine = in_a_child(|| {
        fork::in_child();
        let member = fork::member(member.arena).unwrap();
        for number in 0..5000_u32 {
            let _ = put(there, member, &number.to_le_bytes());
        }
        let block = payload::prepare(member, 200_000).unwrap();
        let message = Message {
            flags: 7,
            inline: b"",
            blocks: &[block],
        };
        let _ = there.try_put(member, message).unwrap();
        object.drop_handle(member);
    });
    assert!(fine);
    fork::in_parent();
    sweep::reaped(member).unwrap();
    for number in 0..5000_u32 {
        assert_eq!(get(there, member), Some(number.to_le_bytes().to_vec()));
    }
    assert!(get_block(there, member).free(member));
    assert_clean(member, 1);
}

#[test]
fn what_a_dead_receiver_had_is_swept() {
    let member = new_member();
    let object = make(member, 0);
    let there = super_queue(member, &object);
    for _ in 0..3 {
        // A run of spans, and one of a size class.
        let blocks = [200_000, 100].map(|size| payload::prepare(member, size).unwrap());
        let message = Message {
            flags: 7,
            inline: b"",
            blocks: &blocks,
        };
        let _ = there.try_put(member, message).unwrap();
    }
    fork::before();
    assert!(in_a_child(|| {
        fork::in_child();
        let member = fork::member(member.arena).unwrap();
        let _ = get_block(there, member);
        let _ = payload::prepare(member, 100_000).unwrap();
    }));
    fork::in_parent();
    sweep::reaped(member).unwrap();
    assert_clean(member, 1);
    for _ in 0..2 {
        match there.try_get(member, &mut Vec::new()).unwrap() {
            Got::Message { blocks, .. } => assert!(blocks.iter().all(|block| block.free(member))),
            other => panic!("{other:?}"),
        }
    }
    object.drop_handle(member);
    assert_eq!(runs(member), 0);
    assert_clean(member, 0);
}

#[test]
fn a_queue_is_its_kind() {
    let member = new_member();
    let object = make(member, 0);
    assert_eq!(object.kind(), Some(ObjectKind::Queue));
    assert_eq!(ObjectKind::Queue.name(), "Queue");
    let other = member.arena.attach(Holdings::default()).unwrap();
    let opened = Object::open(other, object.offset, object.serial, |kind| {
        kind == ObjectKind::Queue
    });
    assert!(opened.is_ok());
}

#[derive(Clone, Debug)]
enum Do {
    Put(usize),
    PutMany(usize, usize),
    PutBlock(usize),
    Get,
    GetMany(usize),
}

fn deed() -> impl Strategy<Value = Do> {
    let size = prop_oneof![4 => 0..200_usize, 2 => 0..5000_usize, 1 => 0..32_769_usize];
    prop_oneof![
        4 => size.clone().prop_map(Do::Put),
        2 => (0..20_usize, size).prop_map(|(count, size)| Do::PutMany(count, size)),
        1 => (0..200_000_usize).prop_map(Do::PutBlock),
        4 => Just(Do::Get),
        2 => (0..40_usize).prop_map(Do::GetMany),
    ]
}

/// A message as it is expected: its bytes or the size of its block.
type Plain = VecDeque<(u32, Vec<u8>, Option<u64>)>;

fn check(member: Member, plain: &mut Plain, flags: u32, bytes: &[u8], blocks: &[ClaimedBlock]) {
    let expected = plain.pop_front().unwrap();
    let block = blocks.first().map(ClaimedBlock::len);
    assert_eq!(
        (flags, bytes, block),
        (expected.0, &expected.1[..], expected.2)
    );
    for block in blocks {
        let mut last = [0];
        block.read(member, block.len() - 1, &mut last).unwrap();
        assert_eq!(last[0], flags as u8);
        assert!(block.free(member));
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_queue_does_what_a_plain_one_does(deeds in proptest::collection::vec(deed(), 1..150), bound in 0..30_u64) {
        let member = new_member();
        let object = make(member, bound);
        let queue = queue(member, &object);
        let mut plain = Plain::new();
        let room = |plain: &Plain| if bound == 0 { usize::MAX } else { bound as usize - plain.len() };
        let mut number = 0;
        for deed in &deeds {
            number += 1;
            match *deed {
                Do::Put(size) => {
                    let bytes = vec![number as u8; size];
                    let expected = if room(&plain) > 0 { Put::Done } else { Put::Full };
                    prop_assert_eq!(queue.try_put(member, Message::of(number, &bytes)).unwrap(), expected.clone());
                    if expected == Put::Done {
                        plain.push_back((number, bytes, None));
                    }
                }
                Do::PutMany(count, size) => {
                    let bytes = vec![number as u8; size];
                    let messages = vec![Message::of(number, &bytes); count];
                    let (done, _) = queue.try_put_many(member, &messages).unwrap();
                    prop_assert_eq!(done, count.min(room(&plain)));
                    plain.extend((0..done).map(|_| (number, bytes.clone(), None)));
                }
                Do::PutBlock(size) => {
                    let block = payload::prepare(member, size as u64 + 1).unwrap();
                    block.write(member, size as u64, &[number as u8]).unwrap();
                    let message = Message { flags: number, inline: b"x", blocks: &[block] };
                    if queue.try_put(member, message).unwrap() == Put::Done {
                        plain.push_back((number, b"x".to_vec(), Some(size as u64 + 1)));
                    } else {
                        prop_assert_eq!(room(&plain), 0);
                        block.discard(member);
                    }
                }
                Do::Get => {
                    let mut bytes = Vec::new();
                    match queue.try_get(member, &mut bytes).unwrap() {
                        Got::Message { flags, blocks, .. } => check(member, &mut plain, flags, &bytes, &blocks),
                        Got::Empty => prop_assert!(plain.is_empty()),
                        Got::Shut => panic!("nobody shut it"),
                    }
                }
                Do::GetMany(most) => {
                    let (mut bytes, mut items) = (Vec::new(), Vec::new());
                    let _ = queue.try_get_many(member, most, &mut bytes, &mut items).unwrap();
                    prop_assert_eq!(items.len(), most.min(plain.len()));
                    for item in &items {
                        check(member, &mut plain, item.flags, &bytes[item.bytes.clone()], &item.blocks);
                    }
                }
            }
            prop_assert_eq!(queue.len(), plain.len() as u64);
        }
        assert_clean(member, 1);
        object.drop_handle(member);
        assert_clean(member, 0);
        prop_assert_eq!(runs(member), 0);
    }
}
