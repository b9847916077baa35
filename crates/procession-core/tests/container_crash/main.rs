//! Kill at every named point of every change of a dict or a list, and then whoever goes on as well.
//!
//! Each case is a forked process with an arena of its own: a dict and a list that it holds, with plain
//! members and containers that nobody else holds. A victim makes changes and dies at a point. The survivor
//! reads at once, without the lock: it must find what was there after some of the changes. Then it
//! sweeps, and must find the same, nothing leaked, nothing inconsistent, and everything in use.
#![allow(missing_docs)]

#[path = "../common/lanes.rs"]
mod lanes;
mod victims;
mod world;

use procession_core::CRASH_POINTS;
use procession_sys::clock::now_ns;
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
    let started = now_ns();
    let mut tally = Tally::default();
    let hit = singles(&mut tally);
    let ours = |point: &&&str| point.starts_with("container.") || point.starts_with("nested.");
    for point in CRASH_POINTS.iter().filter(ours) {
        // Only who finds a dead writer repairs.
        if !hit.iter().any(|(_, hit)| hit == point) && *point != "container.repairing" {
            tally.note(Ended::Exited(1), || format!("no operation passes {point}"));
        }
    }
    println!("{} single deaths", tally.passed + tally.failed.len());
    if wish.as_deref() != Some("single") {
        let singles = tally.passed + tally.failed.len();
        doubles(&mut tally, &hit);
        let all = tally.passed + tally.failed.len();
        println!("{} double faults", all - singles);
    }
    let seconds = (now_ns() - started) / 1_000_000_000;
    let word = if tally.failed.is_empty() {
        "ok"
    } else {
        "FAILED"
    };
    println!(
        "test result: {word}. {} passed; {} failed; 0 ignored; finished in {seconds}s",
        tally.passed,
        tally.failed.len()
    );
    ExitCode::from(u8::from(!tally.failed.is_empty()))
}

fn singles(tally: &mut Tally) -> Vec<(&'static Operation, &'static str)> {
    let places: Vec<(&Operation, &str)> = OPERATIONS
        .iter()
        .flat_map(|operation| CRASH_POINTS.iter().map(move |point| (operation, *point)))
        .collect();
    let found = lanes::each(places.len(), |place| every_time(places[place]));
    let mut hit = Vec::new();
    for ((operation, point), ends) in places.into_iter().zip(found) {
        for (count, ended) in (1..).zip(ends.map(Ended::of)) {
            if !tally.note(ended, || format!("{} at {point}:{count}", operation.name)) {
                break;
            }
            if count == 1 {
                hit.push((operation, point));
            }
        }
    }
    hit
}

/// How the cases of each repetition ended, until one does not come to the point.
fn every_time((operation, point): (&Operation, &str)) -> [u32; REPETITIONS] {
    let mut ends = [Ended::Exited(MISSED).word(); REPETITIONS];
    for (end, count) in ends.iter_mut().zip(1..) {
        let ended = single(operation, point, count);
        *end = ended.word();
        if ended == Ended::Exited(MISSED) {
            break;
        }
    }
    ends
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
    let found = lanes::each(cases.len(), |case| {
        let (first, second) = cases[case];
        [double(first, second).word()]
    });
    for ((first, second), [ended]) in cases.into_iter().zip(found) {
        tally.note(Ended::of(ended), || {
            let ((operation, at), (recovery, point)) = (first, second);
            format!(
                "{} at {at}, then {} at {point}",
                operation.name, recovery.name
            )
        });
    }
}
