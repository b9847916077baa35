//! What the victims do with queues.

use super::{At, BLOCKS, BOTH, LARGE, SMALL, Which, pattern, soon};
use crate::victims::{DONE, HIT, spawn, wait};
use crate::world::World;
use crate::{Operation, prepared};
use procession_core::queue::{Message, Put, Queue, Terms};
use procession_shm::local::Holdings;
use procession_shm::member::Member;
use procession_sys::prim::Ordering::{AcqRel, Release};

fn at(world: &World, member: Member, which: Which) -> At<'_> {
    world.queues.at(member, which)
}

fn open(world: &World, member: Member) {
    world.queues.open(member);
}

/// Runs `body` as a process that holds every queue and then just ends.
fn dead_process(world: &World, body: fn(&World, Member)) {
    let pid = spawn(|| {
        let member = world.arena().attach(Holdings::default()).unwrap();
        open(world, member);
        body(world, member);
        0
    });
    assert_eq!(wait(pid), DONE);
}

pub(crate) const OPERATIONS: &[Operation] = &[
    prepared("put and get small", open, |world, member| {
        let at = at(world, member, Which::Plain);
        at.put_all(3, SMALL);
        at.get_all(2);
        world.queues.drop_handles(member);
        0
    }),
    prepared(
        "put and get through chunks and the spare",
        |world, member| {
            // The first put goes into the spare chunk, the first get leaves one behind.
            open(world, member);
            let at = at(world, member, Which::Plain);
            at.put_all(65, LARGE);
            at.get_all(65);
            for _ in 0..63 {
                at.put_all(1, LARGE);
                at.get_all(1);
            }
        },
        |world, member| {
            let at = at(world, member, Which::Plain);
            for _ in 0..70 {
                at.put_all(1, LARGE);
                at.get_all(1);
            }
            0
        },
    ),
    prepared("put a backlog, get it", open, |world, member| {
        let at = at(world, member, Which::Plain);
        at.put_all(200, LARGE);
        at.get_all(190);
        0
    }),
    prepared("put and get blocks", open, |world, member| {
        let at = at(world, member, Which::Plain);
        for _ in 0..2 {
            // The second time in the same block.
            at.put_all(1, BLOCKS);
            at.get_all(1);
        }
        at.put_all(3, BLOCKS);
        at.get_all(2);
        0
    }),
    prepared("put and get many", open, |world, member| {
        let at = at(world, member, Which::Plain);
        at.put_many(150);
        at.put_all(3, BLOCKS);
        at.get_many(152);
        0
    }),
    prepared("acknowledge in and out of order", open, |world, member| {
        let at = at(world, member, Which::Acknowledged);
        at.put_all(130, LARGE);
        at.put_all(2, BLOCKS);
        let tickets = at.get_all(131);
        at.done(3);
        for ticket in tickets[3..].iter().rev().take(125) {
            at.log.acked_started.fetch_add(1, AcqRel);
            assert!(at.queue.acknowledge(member, *ticket));
            at.log.acked_done.fetch_add(1, AcqRel);
        }
        0
    }),
    prepared("give back and deliver again", open, |world, member| {
        let at = at(world, member, Which::Redelivering);
        at.put_all(2, BLOCKS);
        at.put_all(62, LARGE);
        for ticket in at.get_all(3) {
            assert!(at.queue.give_back(member, ticket).is_some());
        }
        at.get_all(64);
        at.done(63);
        world.queues.drop_handles(member);
        0
    }),
    prepared(
        "take back from the dead",
        |world, member| {
            open(world, member);
            dead_process(world, |world, member| {
                let at = at(world, member, Which::Redelivering);
                at.put_all(3, BLOCKS);
                at.get_all(2);
            });
        },
        |world, member| {
            let at = at(world, member, Which::Redelivering);
            let _ = at.queue.look(member);
            at.get_all(3);
            at.done(2);
            0
        },
    ),
    prepared(
        "sweep consumers",
        |world, _| {
            dead_process(world, |world, member| {
                for which in [Which::Redelivering, Which::Acknowledged] {
                    let at = at(world, member, which);
                    at.put_all(3, BLOCKS);
                    at.get_all(2);
                }
            });
        },
        crate::recover_by_sweep,
    ),
    prepared("move letters", open, |world, member| {
        let at = at(world, member, Which::Poisoned);
        at.put_all(2, BLOCKS);
        for ticket in at.get_all(2) {
            assert!(at.queue.give_back(member, ticket).is_some());
        }
        let letters = world.queues.at(member, Which::Letters).queue;
        assert_eq!(at.queue.move_letters(member, letters).unwrap().0, 2);
        0
    }),
    prepared("shut", open, |world, member| {
        let at = at(world, member, Which::Plain);
        at.put_all(2, SMALL);
        let _ = at.queue.shutdown(member, false);
        assert!(!at.put_all(1, SMALL));
        at.get_all(2);
        0
    }),
    prepared("shut at once", open, |world, member| {
        let at = at(world, member, Which::Plain);
        at.put_all(70, LARGE);
        at.put_all(2, BLOCKS);
        at.log.dropped.store(1, Release);
        let _ = at.queue.shutdown(member, true);
        assert!(at.get().is_none());
        0
    }),
    prepared("produce", open, |world, member| {
        let at = at(world, member, Which::Produced);
        at.queue.add_producer(member).unwrap();
        at.put_all(1, SMALL);
        let _ = at.queue.remove_producer(member);
        assert!(at.queue.is_shut());
        0
    }),
    prepared("make a queue, fill and drop it", open, |world, member| {
        let at = at(world, member, Which::Letters);
        for mode in [0, BOTH] {
            let terms = Terms {
                mode,
                ..Terms::default()
            };
            let object = Queue::create_with(member, terms).unwrap();
            let own = At {
                queue: Queue {
                    object: &object,
                    line: object.body(member.arena).unwrap(),
                },
                ..at
            };
            own.put_all(62, LARGE);
            own.put_all(2, BLOCKS);
            own.get_all(1);
            object.drop_handle(member);
        }
        0
    }),
    prepared(
        "take both sides over",
        |world, member| {
            open(world, member);
            for (point, name) in [
                ("queue.block_handed_over", "put and get blocks"),
                ("queue.claimed", "put and get blocks"),
                ("queue.unlinking", "acknowledge in and out of order"),
            ] {
                let operation = OPERATIONS.iter().find(|of| of.name == name).unwrap();
                assert_eq!(world.victim(point, 1, *operation), HIT, "{point}");
            }
        },
        |world, _| {
            // The logs do not know who came how far: only that nothing is torn or hangs.
            for which in [Which::Plain, Which::Acknowledged] {
                let member = world.arena().known_member().unwrap();
                let at = at(world, member, which);
                at.put_all(2, BLOCKS);
                at.get().unwrap();
            }
            0
        },
    ),
    prepared("wait, be rung", open, |world, member| {
        let at = at(world, member, Which::Plain);
        assert!(at.queue.wait_item(member, &soon()).is_some());
        assert!(at.queue.arm_bell(member));
        let number = at.log.put_started.fetch_add(1, AcqRel);
        let message = pattern(number, 20);
        let put = at.queue.try_put(member, Message::of(1, &message)).unwrap();
        let Put::Rings(bells) = put else {
            panic!("{put:?}");
        };
        at.queue.have_rung(&bells);
        at.log.put_done.fetch_add(1, AcqRel);
        0
    }),
];

/// The name of [`recover`] as an operation.
pub(crate) const RECOVERY: &str = "use the queues that others died in";

/// Goes on where another died, without any sweep.
pub(crate) fn recover(world: &World, member: Member) -> i32 {
    open(world, member);
    for which in [Which::Plain, Which::Acknowledged, Which::Redelivering] {
        let at = at(world, member, which);
        at.resume();
        let _ = at.queue.look(member);
        // Before the producers' side is repaired.
        let _ = at.get();
        if at.put_all(61, LARGE) && at.put_all(1, BLOCKS) {
            at.get_all(1);
        }
        if which == Which::Redelivering {
            at.done(1);
        }
    }
    0
}
