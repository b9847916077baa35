//! Kill at every named point of every change of a dict or a list, and then whoever goes on as well.
//!
//! Each case is a forked process with an arena of its own: a dict and a list that it holds, with plain
//! members and containers that nobody else holds. A victim makes changes and dies at a point. The survivor
//! reads at once, without the lock: it must find what was there after some of the changes. Then it
//! sweeps, and must find the same, nothing leaked, nothing inconsistent, and everything in use.
#![allow(missing_docs)]

#[path = "../common/lanes.rs"]
mod lanes;
#[path = "../common/victims.rs"]
mod victims;
mod world;

use procession_core::CRASH_POINTS;
use std::process::ExitCode;
use victims::{DONE, Ended, HIT, MISSED, Tally};
use world::{Act, World};

/// What a victim does.
struct Operation {
    name: &'static str,
    acts: &'static [Act],
}

const fn operation(name: &'static str, acts: &'static [Act]) -> Operation {
    Operation { name, acts }
}

use Act::{
    Append, Clear, ClearList, Delete, Insert, Nest, NestItem, OpenNested, Pop, RemoveItem, Reverse,
    Set, SetItem, Sweep,
};

const OPERATIONS: &[Operation] = &[
    operation("set a new key", &[Set(100, 5)]),
    operation("set a key again", &[Set(1, 90)]),
    operation("set a large value", &[Set(1, 70_000), Set(1, 3)]),
    operation(
        "grow",
        &[
            Set(101, 1),
            Set(102, 2),
            Set(103, 3),
            Set(104, 4),
            Set(105, 5),
        ],
    ),
    operation("delete", &[Delete(2)]),
    operation("delete and set", &[Delete(2), Set(2, 7), Delete(0)]),
    operation("clear", &[Clear, Set(7, 7)]),
    operation("nest", &[Nest(200), Nest(1)]),
    operation("replace what is nested", &[Set(9, 1), Delete(8)]),
    operation("open what is nested", &[OpenNested(9)]),
    operation("append one", &[Append(1)]),
    operation("append more than fit", &[Append(3), Append(9)]),
    operation("set an item", &[SetItem(1, 60), SetItem(0, 1)]),
    operation("pop", &[Pop, Pop, Pop]),
    operation("insert", &[Insert(1, 9), Insert(0, 1)]),
    operation("remove an item", &[RemoveItem(0), RemoveItem(1)]),
    operation("nest an item", &[NestItem, SetItem(-1, 2)]),
    operation("reverse", &[Reverse, Append(1)]),
    operation("clear a list", &[ClearList, Append(2)]),
    operation("clear everything", &[Clear, ClearList]),
];

/// What is done by who finds what a victim has left, and dies as well.
const RECOVERIES: &[Operation] = &[
    operation("sweep", &[Sweep]),
    operation("use it", &[Set(150, 3), Delete(150), Append(1), Pop]),
    operation("clear it", &[Clear, ClearList]),
];

fn single(operation: &Operation, point: &str, count: u32) -> Ended {
    victims::in_a_process(|| {
        let mut world = World::new();
        match world.victim(operation.acts, point, count) {
            HIT => world.survive(),
            DONE => MISSED,
            other => panic!("the victim ended with {other:?}"),
        }
    })
}

fn double(first: (&Operation, &str), second: (&Operation, &str)) -> Ended {
    victims::in_a_process(|| {
        let mut world = World::new();
        assert_eq!(
            world.victim(first.0.acts, first.1, 1),
            HIT,
            "it died before"
        );
        match world.victim(second.0.acts, second.1, 1) {
            HIT => world.survive(),
            DONE => MISSED,
            other => panic!("the second victim ended with {other:?}"),
        }
    })
}

/// Every repetition of a point in an operation, up to this many.
const REPETITIONS: usize = 4;

fn main() -> ExitCode {
    let wish = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let mut tally = Tally::new();
    let hit = singles(&mut tally);
    let ours = |point: &&&str| point.starts_with("container.") || point.starts_with("nested.");
    for point in CRASH_POINTS.iter().filter(ours) {
        // Only who finds a dead writer repairs.
        if !hit.iter().any(|(_, hit)| hit == point) && *point != "container.repairing" {
            tally.note(Ended::Exited(1), || format!("no operation passes {point}"));
        }
    }
    let singles = tally.cases();
    println!("{singles} single deaths");
    if wish.as_deref() != Some("single") {
        doubles(&mut tally, &hit);
        println!("{} double faults", tally.cases() - singles);
    }
    tally.finish()
}

fn singles(tally: &mut Tally) -> Vec<(&'static Operation, &'static str)> {
    let places: Vec<(&Operation, &str)> = OPERATIONS
        .iter()
        .flat_map(|operation| CRASH_POINTS.iter().map(move |point| (operation, *point)))
        .collect();
    tally.at_each::<_, REPETITIONS>(
        places,
        |(operation, point), count| single(operation, point, count),
        |(operation, point)| format!("{} at {point}", operation.name),
    )
}

/// Where a recovery may die that an undisturbed change does not come to.
const RECOVERING: &[&str] = &[
    "container.",
    "ilock.",
    "sweep.",
    "nested.",
    "ledger.removed",
    "object.",
    "heap.freed",
];

fn doubles(tally: &mut Tally, firsts: &[(&Operation, &str)]) {
    let inside = |point: &str| point.starts_with("container.") || point.starts_with("nested.");
    let mut cases = Vec::new();
    for recovery in RECOVERIES {
        for first in firsts.iter().filter(|(_, point)| inside(point)) {
            for point in CRASH_POINTS
                .iter()
                .filter(|point| RECOVERING.iter().any(|kind| point.starts_with(kind)))
            {
                cases.push((*first, (recovery, *point)));
            }
        }
    }
    tally.of_each(
        cases,
        |(first, second)| double(first, second),
        |((operation, at), (recovery, point))| {
            format!(
                "{} at {at}, then {} at {point}",
                operation.name, recovery.name
            )
        },
    );
}
