//! Sizes, numbers and memory at their limits, on a real arena.
#![allow(missing_docs)]

mod common;

use common::{assert_clean, chain, create, hold, in_a_child, new_member};
use procession_core::{Object, ObjectKind, fsck, ledger, sweep};
use procession_shm::ArenaError;
use procession_shm::layout::SLOTS;
use procession_shm::span::Purpose;
use procession_sys::clock::Deadline;
use procession_sys::prim::Ordering::Acquire;

#[test]
fn absurd_sizes_are_no_memory() {
    let member = new_member();
    let sizes = [
        u64::MAX,
        u64::MAX - 63,
        1 << 63,
        (1 << 48) + 1,
        ((1 << 32) - 1) << 16,
        64 << 30,
    ];
    for nbytes in sizes {
        let made = Object::create(member, ObjectKind::Memory, nbytes, |_| Ok(()));
        assert!(matches!(made, Err(ArenaError::NoMemory(_))), "{nbytes:#x}");
    }
    assert_clean(member, 0);
}

#[test]
fn what_cannot_be_mapped_is_given_back() {
    assert!(in_a_child(|| {
        let room = |bytes: u64| {
            let text = std::fs::read_to_string("/proc/self/statm").unwrap();
            let pages: u64 = text.split(' ').next().unwrap().parse().unwrap();
            let limit = libc::rlimit {
                rlim_cur: pages * 4096 + bytes,
                rlim_max: libc::RLIM_INFINITY,
            };
            // SAFETY: `limit` is a live rlimit that the call reads.
            let rc = unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) };
            assert_eq!(rc, 0);
        };
        // Windows of 32 MiB, then none more.
        room(200 << 20);
        let member = new_member();
        let spans = || fsck::fsck(member.arena).unwrap().spans;
        let small = create(member, 100);
        room(8 << 20);
        let before = spans();
        for _ in 0..3 {
            let made = Object::create(member, ObjectKind::Memory, 40 << 20, |_| Ok(()));
            assert!(matches!(made, Err(ArenaError::NoMemory(_))), "{made:?}");
        }
        assert_eq!(spans(), before, "a run that cannot be mapped stayed taken");
        small.drop_handle(member);
    }));
}

#[test]
fn two_hundred_hold_one_object() {
    let member = new_member();
    let object = create(member, 100);
    let others = hold(member, &object, 200);
    assert_eq!(ledger::holders(member.arena, object.header), 201);
    assert_clean(member, 1);
    // Half of them let go, half die.
    let (leave, die) = others.split_at(100);
    for other in leave {
        assert!(!ledger::remove(member, &object, other.owner));
    }
    assert_eq!(ledger::holders(member.arena, object.header), 101);
    assert_eq!(die.len(), 100);
    drop(others);
    sweep::sweep(member).unwrap();
    assert_eq!(ledger::holders(member.arena, object.header), 1);
    // The chain is used again, not grown.
    let blocks = chain(member, &object).len();
    let again = hold(member, &object, 150);
    assert_eq!(chain(member, &object).len(), blocks);
    drop(again);
    sweep::sweep(member).unwrap();
    object.drop_handle(member);
    member.trim();
    assert_clean(member, 0);
    assert_eq!(fsck::fsck(member.arena).unwrap().spans, 0);
}

#[test]
fn no_memory_for_the_ledger_leaves_it_as_it_was() {
    assert!(in_a_child(|| {
        // SAFETY: this process has one thread.
        unsafe { std::env::set_var("PROCESSION_ARENA", "32M") };
        let member = new_member();
        let object = create(member, 100);
        let mut others = hold(member, &object, 20);
        // Everything else is taken, down to the smallest block.
        let mut fill = Vec::new();
        for nbytes in [4 << 20, 100_000, 16_000, 64, 0] {
            while let Ok(more) = Object::create(member, ObjectKind::Memory, nbytes, |_| Ok(())) {
                fill.push(more);
            }
        }
        let listed = || -> Vec<u32> {
            ledger::entries(member.arena, object.header)
                .map(|entry| ledger::owner_of(entry).bits())
                .filter(|bits| *bits != 0)
                .collect()
        };
        let refused = loop {
            let next = member.arena.reserve().unwrap();
            let before = listed();
            match ledger::add(member, &object, next.owner) {
                Ok(()) => others.push(next),
                Err(error) => {
                    assert_eq!(listed(), before);
                    break error;
                }
            }
            assert!(others.len() < 200, "the arena was never full");
        };
        assert!(matches!(refused, ArenaError::NoMemory(_)), "{refused:?}");
        assert_clean(member, 1 + fill.len());
        for object in fill {
            object.drop_handle(member);
        }
        while others.len() < 200 {
            others.extend(hold(member, &object, 1));
        }
        assert_eq!(ledger::holders(member.arena, object.header), 201);
        assert_clean(member, 1);
    }));
}

#[test]
fn every_slot_may_be_taken_and_then_it_is_crowded() {
    assert!(in_a_child(|| {
        let many = libc::rlimit {
            rlim_cur: 8192,
            rlim_max: 8192,
        };
        // SAFETY: `many` is a live rlimit that the call reads.
        let rc = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const many) };
        assert_eq!(rc, 0, "needs 8192 descriptors");
        let member = new_member();
        // One open file may hold many bytes: 4093 processes in one.
        let mut others = Vec::new();
        let crowded = loop {
            match member.arena.reserve() {
                Ok(other) => others.push(other),
                Err(error) => break error,
            }
        };
        assert_eq!(crowded, ArenaError::Crowded);
        assert_eq!(others.len(), SLOTS - 1);
        // All die unswept: the next comer takes a slot all the same, and a sweep frees all.
        let object = create(member, 100);
        ledger::add(member, &object, others[77].owner).unwrap();
        drop(others);
        let next = member.arena.reserve().unwrap();
        sweep::sweep(member).unwrap();
        assert_eq!(ledger::holders(member.arena, object.header), 1);
        drop(next);
        sweep::sweep(member).unwrap();
        assert_clean(member, 1);
    }));
}

#[test]
fn a_block_comes_only_from_a_span_of_ours() {
    let member = new_member();
    let end = Deadline::after_ns(1_500_000_000);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !end.is_past() {
                    let block = member.allocate(20_000, Purpose::Object).unwrap();
                    let found = member.arena.block_at(block.offset);
                    let ours = found.is_ok_and(|found| found.size == block.size);
                    assert!(ours, "a block where its span is no more");
                    member.free(&block);
                }
            });
        }
        scope.spawn(|| {
            while !end.is_past() {
                member.trim();
                if let Ok(run) = member.allocate(60_000, Purpose::Object) {
                    member.arena.zero(run.offset, run.size).unwrap();
                    member.free(&run);
                }
            }
        });
    });
    member.trim();
    assert_clean(member, 0);
}

#[test]
fn memory_that_is_marked_reserved_is() {
    let member = new_member();
    let end = Deadline::after_ns(1_500_000_000);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !end.is_past() {
                    let run = member.allocate(300_000, Purpose::Object).unwrap();
                    member.free(&run);
                }
            });
        }
        while !end.is_past() {
            member.give_back(0);
        }
    });
    // Reserved pages that nobody touched look like holes to lseek; the file's blocks count them.
    let marked = (256..member.arena.header().spans_used.load(Acquire))
        .step_by(4)
        .filter(|span| member.arena.is_committed(*span))
        .count() as u64;
    assert!(member.arena.occupied().unwrap() >= marked * (256 << 10));
}
