//! Acknowledgements, redelivery, the end of a stream, doorbells: on a real arena.
#![allow(missing_docs)]
#![cfg(not(loom))]

mod common;

use common::{assert_clean, in_a_child, new_member};
use procession_core::acks::Ticket;
use procession_core::bells::Ringing;
use procession_core::deliveries::{AllDone, TooMany};
use procession_core::lock::{Waited, Waiting};
use procession_core::payload;
use procession_core::queue::{Got, Message, Put, Queue, Terms, mode};
use procession_core::{Object, fork, sweep};
use procession_shm::member::Member;
use procession_sys::clock::Deadline;
use proptest::prelude::*;

const BOTH: u32 = mode::ACKNOWLEDGING | mode::REDELIVERING;

fn make(member: Member, terms: Terms) -> Queue<'static> {
    let object: &'static Object = Box::leak(Box::new(Queue::create_with(member, terms).unwrap()));
    let line = object.body(member.arena).unwrap();
    Queue { object, line }
}

fn of_mode(member: Member, mode: u32) -> Queue<'static> {
    let terms = Terms {
        mode,
        ..Terms::default()
    };
    make(member, terms)
}

fn put(queue: Queue<'_>, member: Member, bytes: &[u8]) {
    let put = queue.try_put(member, Message::of(0, bytes)).unwrap();
    assert_eq!(put, Put::Done);
}

fn get(queue: Queue<'_>, member: Member) -> Option<(Vec<u8>, u32, Ticket)> {
    let mut bytes = Vec::new();
    match queue.try_get(member, &mut bytes).unwrap() {
        Got::Message {
            deliveries, ticket, ..
        } => Some((bytes, deliveries, ticket)),
        Got::Empty => None,
        Got::Shut => panic!("it goes on"),
    }
}

fn is_shut(queue: Queue<'_>, member: Member) -> bool {
    matches!(queue.try_get(member, &mut Vec::new()).unwrap(), Got::Shut)
}

fn soon() -> Waiting {
    Waiting::until(Deadline::after_seconds(0.001))
}

/// Runs `body` in a forked process of the family that then dies.
fn in_a_member(member: Member, body: impl FnOnce(Member)) {
    fork::before();
    assert!(in_a_child(|| {
        fork::in_child();
        body(fork::member(member.arena).unwrap());
    }));
    fork::in_parent();
}

#[test]
fn what_is_done_is_counted() {
    let member = new_member();
    let queue = of_mode(member, mode::ACKNOWLEDGING);
    assert_eq!(queue.wait_all_done(member, &soon()), AllDone::Done);
    for number in 0..10 {
        put(queue, member, &[number]);
    }
    assert_eq!(queue.unfinished(member), 10);
    assert_eq!(queue.task_done(member), Err(TooMany), "nobody took any");
    for left in (0..10).rev() {
        let waited = queue.wait_all_done(member, &soon());
        assert_eq!(waited, AllDone::Waited(Waited::TimedOut));
        assert!(get(queue, member).is_some());
        assert_eq!(queue.task_done(member), Ok(()));
        assert_eq!(queue.unfinished(member), left);
    }
    assert_eq!(queue.task_done(member), Err(TooMany));
    assert_eq!(queue.wait_all_done(member, &soon()), AllDone::Done);
    assert_clean(member, 1);
}

#[test]
fn chunks_go_when_all_of_them_is_done() {
    for mode in [mode::ACKNOWLEDGING, BOTH] {
        let member = new_member();
        let queue = of_mode(member, mode);
        let chunks = || {
            let blocks = member.arena.blocks();
            blocks.filter(|(block, _)| block.size == 65536).count()
        };
        for _ in 0..1000 {
            put(queue, member, &[0; 1000]);
        }
        let first = get(queue, member).unwrap().2;
        let rest: Vec<Ticket> = (1..1000).map(|_| get(queue, member).unwrap().2).collect();
        assert!(chunks() >= 16);
        assert_clean(member, 1);
        for ticket in rest.iter().rev() {
            assert!(queue.acknowledge(member, *ticket));
            assert!(!queue.acknowledge(member, *ticket));
        }
        assert_clean(member, 1);
        assert_eq!(chunks(), 3, "the first, the last, a spare");
        assert_eq!(
            (queue.outstanding(member), queue.unfinished(member)),
            ((1, 1), 1)
        );
        put(queue, member, b"more");
        assert!(queue.acknowledge(member, first));
        assert_eq!(chunks(), 2);
        assert_eq!(get(queue, member).unwrap().0, b"more");
        assert_clean(member, 1);
        queue.object.drop_handle(member);
        assert_clean(member, 0);
    }
}

#[test]
fn who_has_none_acknowledges_the_oldest() {
    let member = new_member();
    let queue = of_mode(member, mode::ACKNOWLEDGING);
    put(queue, member, b"1");
    put(queue, member, b"2");
    let first = get(queue, member).unwrap();
    let second = get(queue, member).unwrap();
    in_a_member(member, |other| {
        assert_eq!(queue.task_done(other), Ok(()));
        queue.object.drop_handle(other);
    });
    assert!(!queue.acknowledge(member, first.2) && queue.acknowledge(member, second.2));
    assert_eq!(queue.unfinished(member), 0);
}

#[test]
fn nobody_waits_for_the_dead() {
    let member = new_member();
    let queue = of_mode(member, mode::ACKNOWLEDGING);
    put(queue, member, b"1");
    put(queue, member, b"2");
    in_a_member(member, |other| {
        get(queue, other).unwrap();
    });
    let died = queue.wait_all_done(member, &soon());
    assert!(
        matches!(died, AllDone::OwnerDied(pid) if pid != 0),
        "{died:?}"
    );
    sweep::reaped(member).unwrap();
    assert_eq!(
        queue.wait_all_done(member, &soon()),
        died,
        "swept, and known"
    );
    // Another one may still say that it is done.
    assert_eq!(queue.task_done(member), Ok(()));
    assert!(get(queue, member).is_some());
    assert_eq!(queue.task_done(member), Ok(()));
    assert_eq!(queue.wait_all_done(member, &soon()), AllDone::Done);
    assert_clean(member, 1);
}

#[test]
fn what_the_dead_had_comes_first() {
    for swept in [false, true] {
        let member = new_member();
        let queue = of_mode(member, BOTH);
        for number in 0..5 {
            put(queue, member, &[number]);
        }
        in_a_member(member, |other| {
            assert_eq!(get(queue, other).unwrap().1, 1);
            get(queue, other).unwrap();
            get(queue, other).unwrap();
            assert_eq!(queue.task_done(other), Ok(()));
        });
        if swept {
            sweep::reaped(member).unwrap();
        } else {
            let _ = queue.look(member);
        }
        assert_eq!(queue.len(), 4);
        let order: Vec<_> = (0..4)
            .map(|_| get(queue, member).unwrap())
            .map(|(bytes, deliveries, _)| (bytes[0], deliveries))
            .collect();
        assert_eq!(order, [(1, 2), (2, 2), (3, 1), (4, 1)]);
        assert_eq!(queue.unfinished(member), 4);
        for _ in 0..4 {
            assert_eq!(queue.task_done(member), Ok(()));
        }
        assert_eq!(queue.wait_all_done(member, &soon()), AllDone::Done);
        sweep::sweep(member).unwrap();
        assert_clean(member, 1);
    }
}

#[test]
fn who_leaves_gives_back() {
    let member = new_member();
    let queue = of_mode(member, BOTH);
    put(queue, member, b"1");
    in_a_member(member, |other| {
        get(queue, other).unwrap();
        queue.object.drop_handle(other);
    });
    let (bytes, deliveries, ticket) = get(queue, member).unwrap();
    assert_eq!((bytes, deliveries), (b"1".to_vec(), 2));
    assert!(queue.give_back(member, ticket).is_some());
    assert!(queue.give_back(member, ticket).is_none());
    assert_eq!(queue.len(), 1);
    let (_, deliveries, ticket) = get(queue, member).unwrap();
    assert_eq!(deliveries, 3);
    assert!(queue.acknowledge(member, ticket) && queue.is_empty());
}

#[test]
fn redelivered_blocks_are_what_was_put() {
    for size in [100, 100_000] {
        let member = new_member();
        let queue = of_mode(member, BOTH);
        let block = payload::prepare(member, size).unwrap();
        block.write(member, 0, b"as it was").unwrap();
        let message = Message {
            flags: 0,
            inline: b"envelope",
            blocks: &[block],
        };
        assert_eq!(queue.try_put(member, message).unwrap(), Put::Done);
        for delivery in 1..4 {
            let mut bytes = Vec::new();
            let got = queue.try_get(member, &mut bytes).unwrap();
            let Got::Message {
                blocks,
                deliveries,
                ticket,
                ..
            } = got
            else {
                panic!("{got:?}");
            };
            assert_eq!((deliveries, &bytes[..]), (delivery, &b"envelope"[..]));
            let mut text = [0; 9];
            blocks[0].read(member, 0, &mut text).unwrap();
            assert_eq!(&text, b"as it was");
            blocks[0].write(member, 0, b"scribbled").unwrap();
            assert!(blocks[0].free(member));
            assert_clean(member, 1);
            if delivery < 3 {
                assert!(queue.give_back(member, ticket).is_some());
            }
        }
        assert_eq!(queue.task_done(member), Ok(()));
        assert_clean(member, 1);
        let kept = member.arena.blocks().count();
        assert_eq!(kept, 2, "the queue and its chunk");
    }
}

#[test]
fn what_there_is_no_memory_for_goes_back() {
    assert!(in_a_child(|| {
        // SAFETY: this process has one thread.
        unsafe { std::env::set_var("PROCESSION_ARENA", "32M") };
        let member = new_member();
        let queue = of_mode(member, BOTH);
        for number in 0..6_u8 {
            // The first needs no copy.
            let block = (number != 0).then(|| payload::prepare(member, 2 << 20).unwrap());
            let message = Message {
                flags: 0,
                inline: &[number],
                blocks: block.as_slice(),
            };
            assert_eq!(queue.try_put(member, message).unwrap(), Put::Done);
        }
        // Memory for copies of two, then for one, then for none.
        let reserve: Vec<_> = (0..2)
            .map(|_| payload::prepare(member, 2 << 20).unwrap())
            .collect();
        let mut fill = Vec::new();
        for nbytes in [2 << 20, 1 << 20] {
            while let Ok(block) = payload::prepare(member, nbytes) {
                fill.push(block);
            }
        }
        for block in reserve {
            block.discard(member);
        }
        let (mut bytes, mut items) = (Vec::new(), Vec::new());
        let mut many = |items: &mut Vec<_>| {
            bytes.clear();
            queue.try_get_many(member, 10, &mut bytes, items)
        };
        assert!(many(&mut items).unwrap().is_none());
        assert_eq!(items.len(), 3, "what needs no copy, and two");
        assert_eq!(
            queue.outstanding(member),
            (6, 3),
            "the others have gone back"
        );
        assert_eq!(
            queue
                .line
                .acks
                .returned
                .load(procession_sys::prim::Ordering::Relaxed),
            3
        );
        assert!(many(&mut Vec::new()).is_err(), "none");
        assert_eq!(queue.outstanding(member), (6, 3));
        for item in std::mem::take(&mut items) {
            item.blocks
                .iter()
                .for_each(|block| assert!(block.free(member)));
            assert!(queue.acknowledge(member, item.ticket));
        }
        for block in fill {
            block.discard(member);
        }
        assert!(many(&mut items).unwrap().is_none());
        assert_eq!(
            items
                .iter()
                .map(|item| item.bytes.clone())
                .collect::<Vec<_>>(),
            [0..1, 1..2, 2..3]
        );
        for item in items {
            item.blocks
                .iter()
                .for_each(|block| assert!(block.free(member)));
            assert!(queue.acknowledge(member, item.ticket));
        }
        assert_eq!(bytes, [3, 4, 5]);
        assert_clean(member, 1);
    }));
}

#[test]
fn a_message_that_kills_goes_to_the_dead_letters() {
    let member = new_member();
    let terms = Terms {
        mode: BOTH,
        max_deliveries: 2,
        ..Terms::default()
    };
    let queue = make(member, terms);
    let letters = of_mode(member, 0);
    let block = payload::prepare(member, 70_000).unwrap();
    let message = Message {
        flags: 5,
        inline: b"poison",
        blocks: &[block],
    };
    assert_eq!(queue.try_put(member, message).unwrap(), Put::Done);
    put(queue, member, b"harmless");
    for _ in 0..2 {
        in_a_member(member, |other| {
            assert_eq!(get(queue, other).unwrap().0, b"poison");
        });
        sweep::reaped(member).unwrap();
    }
    assert_eq!((queue.letters(), queue.unfinished(member)), (1, 2));
    assert_eq!(get(queue, member).unwrap().0, b"harmless");
    assert!(get(queue, member).is_none());
    assert_eq!(queue.move_letters(member, letters).unwrap(), (1, vec![]));
    assert_eq!((queue.letters(), queue.unfinished(member)), (0, 1));
    let mut bytes = Vec::new();
    let Got::Message { flags, blocks, .. } = letters.try_get(member, &mut bytes).unwrap() else {
        panic!("no letter");
    };
    assert_eq!((flags, &bytes[..], blocks.len()), (5, &b"poison"[..], 1));
    assert!(blocks[0].free(member));
    assert_clean(member, 2);
}

#[test]
fn the_stream_ends_when_nothing_can_come_back() {
    let member = new_member();
    let queue = of_mode(member, BOTH);
    put(queue, member, b"1");
    let _ = queue.shutdown(member, false);
    in_a_member(member, |other| {
        get(queue, other).unwrap();
        assert!(is_shut(queue, other), "only what it has itself is out");
    });
    assert!(get(queue, member).is_none(), "it may come back");
    assert_eq!(
        queue.wait_item(member, &soon()),
        Some(Waited::TimedOut),
        "so it is waited for"
    );
    let _ = queue.look(member);
    assert_eq!(queue.wait_item(member, &soon()), None);
    assert!(get(queue, member).is_some());
    assert!(is_shut(queue, member));
    assert_eq!(queue.task_done(member), Ok(()));
    assert!(is_shut(queue, member));
}

#[test]
fn a_shut_queue_drops_what_is_left_as_done() {
    for mode in [mode::ACKNOWLEDGING, BOTH] {
        let member = new_member();
        let queue = of_mode(member, mode);
        for _ in 0..100 {
            put(queue, member, &[0; 2000]);
        }
        let ticket = get(queue, member).unwrap().2;
        let _ = queue.shutdown(member, true);
        assert_eq!(queue.unfinished(member), 1);
        assert!(queue.acknowledge(member, ticket));
        assert_eq!(queue.wait_all_done(member, &soon()), AllDone::Done);
        assert_clean(member, 1);
    }
}

#[test]
fn the_last_producer_ends_the_stream() {
    let member = new_member();
    let terms = Terms {
        producers: 2,
        ..Terms::default()
    };
    let queue = make(member, terms);
    queue.add_producer(member).unwrap();
    assert!(queue.remove_producer(member).is_empty());
    assert!(!queue.is_shut(), "one more is expected");
    queue.add_producer(member).unwrap();
    queue.add_producer(member).unwrap();
    put(queue, member, b"1");
    let _ = queue.remove_producer(member);
    assert!(!queue.is_shut(), "one is left");
    let _ = queue.remove_producer(member);
    assert!(queue.is_shut());
    assert!(get(queue, member).is_some());
    assert!(is_shut(queue, member));
    assert_clean(member, 1);
}

#[test]
fn a_dead_producer_has_left() {
    for how in 0..3 {
        let member = new_member();
        let terms = Terms {
            producers: 1,
            ..Terms::default()
        };
        let queue = make(member, terms);
        in_a_member(member, |other| {
            queue.add_producer(other).unwrap();
            put(queue, other, b"1");
            if how == 2 {
                queue.object.drop_handle(other);
            }
        });
        if how == 0 {
            sweep::reaped(member).unwrap();
        }
        let _ = queue.look(member);
        assert!(queue.is_shut());
        assert!(get(queue, member).is_some());
        assert!(is_shut(queue, member));
        sweep::sweep(member).unwrap();
        assert_clean(member, 1);
    }
}

/// Puts one message: the doorbells of `member`'s to be rung for it.
fn put_and_ring(queue: Queue<'_>, member: Member) -> Vec<Ringing> {
    let Put::Rings(bells) = queue.try_put(member, Message::of(0, b"2")).unwrap() else {
        panic!("nobody is armed");
    };
    let owners: Vec<_> = bells.iter().map(|bell| bell.owner()).collect();
    assert_eq!(owners, [member.local.owner]);
    bells
}

#[test]
fn a_bell_is_rung_once() {
    let member = new_member();
    let queue = of_mode(member, 0);
    assert!(queue.arm_bell(member) && queue.arm_bell(member));
    let first = put_and_ring(queue, member);
    assert_eq!(
        put_and_ring(queue, member),
        first,
        "who was to ring may be dead"
    );
    queue.have_rung(&first);
    put(queue, member, b"2");
    assert!(queue.arm_bell(member));
    let slow = put_and_ring(queue, member);
    assert!(queue.arm_bell(member), "while somebody rings");
    queue.have_rung(&slow);
    let killed = put_and_ring(queue, member);
    assert_ne!(killed, slow, "armed again, it stays armed");
    queue.have_rung(&slow);
    assert_eq!(
        put_and_ring(queue, member),
        killed,
        "though it is rung again"
    );
    queue.have_rung(&killed);
    assert!(queue.arm_bell(member));
    queue.disarm_bell(member);
    put(queue, member, b"3");
    assert!(queue.arm_bell(member));
    let rung = queue.shutdown(member, false);
    assert_eq!(rung.len(), 1);
    queue.have_rung(&rung);
    in_a_member(member, |other| assert!(queue.arm_bell(other)));
    sweep::reaped(member).unwrap();
    let armed = &queue.line.bells.armed;
    let left = armed
        .iter()
        .filter(|entry| entry.load(procession_sys::prim::Ordering::Relaxed) as u32 != 0);
    assert_eq!(left.count(), 0, "the dead one's is gone");
}

#[derive(Clone, Copy, Debug)]
enum Do {
    Put(usize),
    Get,
    Done,
    Acknowledge(usize),
    GiveBack(usize),
}

fn deed() -> impl Strategy<Value = Do> {
    prop_oneof![
        4 => (0..3000_usize).prop_map(Do::Put),
        5 => Just(Do::Get),
        2 => Just(Do::Done),
        2 => any::<usize>().prop_map(Do::Acknowledge),
        2 => any::<usize>().prop_map(Do::GiveBack),
    ]
}

/// A message as one would write it without words.
struct Plain {
    number: u32,
    size: usize,
    deliveries: u32,
    taken: Option<Ticket>,
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_redelivering_queue_does_what_a_plain_one_does(deeds in proptest::collection::vec(deed(), 1..300)) {
        let member = new_member();
        let queue = of_mode(member, BOTH);
        // Unacknowledged messages in the order in which they were put.
        let mut plain: Vec<Plain> = Vec::new();
        let mut numbers = 0;
        for deed in &deeds {
            let pick = |plain: &[Plain], which: usize| {
                let taken: Vec<usize> = (0..plain.len()).filter(|at| plain[*at].taken.is_some()).collect();
                (!taken.is_empty()).then(|| taken[which % taken.len()])
            };
            match *deed {
                Do::Put(size) => {
                    numbers += 1;
                    let bytes = vec![numbers as u8; size];
                    let put = queue.try_put(member, Message::of(numbers, &bytes)).unwrap();
                    prop_assert_eq!(put, Put::Done);
                    plain.push(Plain { number: numbers, size, deliveries: 0, taken: None });
                }
                Do::Get => {
                    let mut bytes = Vec::new();
                    let got = queue.try_get(member, &mut bytes).unwrap();
                    let expected = plain.iter_mut().find(|message| message.taken.is_none());
                    match (got, expected) {
                        (Got::Empty, None) => {}
                        (Got::Message { flags, deliveries, ticket, .. }, Some(expected)) => {
                            expected.deliveries += 1;
                            expected.taken = Some(ticket);
                            let found = (flags, bytes.len(), deliveries);
                            prop_assert_eq!(found, (expected.number, expected.size, expected.deliveries));
                        }
                        (got, _) => panic!("{got:?}"),
                    }
                }
                Do::Done => {
                    let oldest = pick(&plain, 0);
                    prop_assert_eq!(queue.task_done(member).is_ok(), oldest.is_some());
                    if let Some(at) = oldest {
                        plain.remove(at);
                    }
                }
                Do::Acknowledge(which) => {
                    if let Some(at) = pick(&plain, which) {
                        prop_assert!(queue.acknowledge(member, plain[at].taken.unwrap()));
                        plain.remove(at);
                    }
                }
                Do::GiveBack(which) => {
                    if let Some(at) = pick(&plain, which) {
                        let ticket = plain[at].taken.take().unwrap();
                        prop_assert!(queue.give_back(member, ticket).is_some());
                    }
                }
            }
            let waiting = plain.iter().filter(|message| message.taken.is_none()).count();
            prop_assert_eq!(queue.len(), waiting as u64);
            prop_assert_eq!(queue.unfinished(member), plain.len() as u64);
        }
        assert_clean(member, 1);
        queue.object.drop_handle(member);
        assert_clean(member, 0);
    }
}
