//! How fast a queue is: nanoseconds for a put and a get by one process, millions of messages a
//! second between two. `cargo run --release --example queue_speed`; medians of five rounds.

#![expect(clippy::cast_precision_loss, reason = "figures to look at")]

use procession_core::fork;
use procession_core::lock::Waiting;
use procession_core::payload;
use procession_core::queue::{Got, Item, Message, Put, Queue};
use procession_core::spin::{Backoff, Ground};
use procession_shm::Arena;
use procession_shm::local::Holdings;
use procession_shm::member::Member;
use procession_sys::clock::{Deadline, now_ns};

const ROUNDS: usize = 5;
const COUNT: u64 = 1_000_000;

fn median(mut round: impl FnMut() -> f64) -> f64 {
    let mut all: Vec<f64> = (0..ROUNDS).map(|_| round()).collect();
    all.sort_by(f64::total_cmp);
    all[ROUNDS / 2]
}

fn put(queue: Queue<'_>, member: Member, message: Message<'_>, backoff: &Backoff) {
    while queue.try_put(member, message).unwrap() == Put::Full {
        if !backoff.spin(Ground::look(), || queue.has_room()) {
            let _ = queue.wait_room(member, &Waiting::until(Deadline::NEVER));
        }
    }
}

fn get(queue: Queue<'_>, member: Member, into: &mut Vec<u8>, backoff: &Backoff) {
    while !matches!(queue.try_get(member, into).unwrap(), Got::Message { .. }) {
        if !backoff.spin(Ground::look(), || queue.has_item()) {
            let _ = queue.wait_item(member, &Waiting::until(Deadline::NEVER));
        }
    }
}

/// Nanoseconds of one put and one get.
fn alone(queue: Queue<'_>, member: Member, size: usize) -> f64 {
    let bytes = vec![1; size];
    let mut into = Vec::new();
    let started = now_ns();
    for _ in 0..COUNT {
        let _ = queue.try_put(member, Message::of(0, &bytes)).unwrap();
        let _ = queue.try_get(member, &mut into).unwrap();
    }
    (now_ns() - started) as f64 / COUNT as f64
}

/// Nanoseconds of a message in a batch of 100, put and got.
fn batches(queue: Queue<'_>, member: Member) -> f64 {
    let messages = vec![Message::of(0, &[1; 16]); 100];
    let (mut into, mut items) = (Vec::new(), Vec::<Item>::new());
    let started = now_ns();
    for _ in 0..COUNT / 100 {
        let _ = queue.try_put_many(member, &messages).unwrap();
        into.clear();
        items.clear();
        let _ = queue.try_get_many(member, 100, &mut into, &mut items);
    }
    (now_ns() - started) as f64 / COUNT as f64
}

/// Gigabytes a second of blocks of 1 MB that are filled and freed.
fn blocks(queue: Queue<'_>, member: Member) -> f64 {
    let bytes = vec![1; 1 << 20];
    let mut into = Vec::new();
    let started = now_ns();
    for _ in 0..1000 {
        let block = payload::prepare(member, 1 << 20).unwrap();
        block.write(member, 0, &bytes).unwrap();
        let message = Message {
            flags: 0,
            inline: &[],
            blocks: &[block],
        };
        let _ = queue.try_put(member, message).unwrap();
        if let Got::Message { blocks, .. } = queue.try_get(member, &mut into).unwrap() {
            blocks[0].free(member);
        }
    }
    1000.0 * f64::from(1 << 20) / (now_ns() - started) as f64
}

/// Millions of messages a second from a child to us.
fn between(member: Member, maxsize: u64, size: usize) -> f64 {
    let object = Queue::create(member, maxsize, false).unwrap();
    let line = object.body(member.arena).unwrap();
    let queue = Queue {
        object: &object,
        line,
    };
    let backoff = Backoff::new();
    fork::before();
    // SAFETY: this process has one thread.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        fork::in_child();
        let member = fork::member(member.arena).unwrap();
        let bytes = vec![1; size];
        for _ in 0..COUNT {
            put(queue, member, Message::of(0, &bytes), &backoff);
        }
        // SAFETY: ends the child.
        unsafe { libc::_exit(0) };
    }
    fork::in_parent();
    let mut into = Vec::new();
    get(queue, member, &mut into, &backoff);
    let started = now_ns();
    for _ in 1..COUNT {
        get(queue, member, &mut into, &backoff);
    }
    let speed = COUNT as f64 / (now_ns() - started) as f64 * 1e3;
    let mut status = 0;
    // SAFETY: `status` is a live int that the call fills.
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
    object.drop_handle(member);
    speed
}

fn main() {
    let arena = Arena::create().unwrap();
    let member = arena.attach(Holdings::default()).unwrap();
    let object = Queue::create(member, 0, false).unwrap();
    let bounded = Queue::create(member, 1000, false).unwrap();
    for (name, object) in [("unbounded", &object), ("maxsize 1000", &bounded)] {
        let line = object.body(member.arena).unwrap();
        let queue = Queue { object, line };
        for size in [16, 100, 1000] {
            let ns = median(|| alone(queue, member, size));
            println!("put + get, {size} bytes, {name}: {ns:.1} ns");
        }
        let ns = median(|| batches(queue, member));
        println!("put + get in batches of 100, {name}: {ns:.1} ns a message");
    }
    let line = object.body(member.arena).unwrap();
    let queue = Queue {
        object: &object,
        line,
    };
    let speed = median(|| blocks(queue, member));
    println!("1 MB in a block, written once: {speed:.1} GB/s");
    for (maxsize, size) in [(0, 16), (1000, 16), (1000, 1000)] {
        let speed = median(|| between(member, maxsize, size));
        println!("between two processes, {size} bytes, maxsize {maxsize}: {speed:.2} M/s");
    }
}
