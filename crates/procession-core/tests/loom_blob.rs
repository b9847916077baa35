//! A reader that copies a blob while its memory is freed and written by others, under every interleaving
//! and reordering that loom finds with few preemptions: what it believes is whole and was there.
#![cfg(loom)]
#![allow(missing_docs)]

use loom::sync::Arc;
use procession_core::blob::{self, Lengths, View};
use procession_shm::heap::take_free;
use procession_sys::prim::Ordering::{Acquire, Relaxed, Release};
use procession_sys::prim::{AtomicU64, own};

/// A cell, and memory for two blobs of one word each, with their block words.
struct Shared {
    cell: AtomicU64,
    blocks: [AtomicU64; 2],
    memory: [[AtomicU64; 4]; 2],
}

const FREE: u64 = 0;
const TAKEN: u64 = 1;

/// The word of the blob in that memory which says `number` twice.
fn word(memory: usize, number: u64) -> u64 {
    blob::word_of(memory as u64 * 64, number)
}

fn memory_of(word: u64) -> usize {
    (blob::offset_of(word) / 64) as usize
}

impl Shared {
    fn new() -> Arc<Self> {
        let words = || std::array::from_fn(|_| AtomicU64::new(0));
        let shared = Self {
            cell: AtomicU64::new(0),
            blocks: [AtomicU64::new(FREE), AtomicU64::new(FREE)],
            memory: [words(), words()],
        };
        shared.write(0, 1);
        shared.blocks[0].store(TAKEN, Relaxed);
        shared.cell.store(word(0, 1), Relaxed);
        Arc::new(shared)
    }

    fn write(&self, memory: usize, number: u64) {
        let lengths = Lengths {
            key: 0,
            value: 16,
            is_spelt: false,
            handles: 0,
        };
        self.memory[memory][1].store(lengths.bits(), Relaxed);
        self.memory[memory][2].store(number, Relaxed);
        self.memory[memory][3].store(number, Relaxed);
    }

    /// What a writer does with the lock held: steps 4, 7, 10 of a put.
    fn put(&self, memory: usize, number: u64) {
        if !take_free(&self.blocks[memory], TAKEN) {
            return;
        }
        self.write(memory, number);
        let old = own(&self.cell);
        blob::commit(&self.cell, word(memory, number));
        if old != 0 {
            self.blocks[memory_of(old)].store(FREE, Release);
        }
    }

    /// Somebody else who uses free memory for something else.
    fn use_memory(&self, memory: usize) {
        if take_free(&self.blocks[memory], TAKEN) {
            self.write(memory, 77);
            self.memory[memory][1].store(u64::MAX, Relaxed);
        }
    }

    /// One try of a reader: what it copied, if it believes that.
    fn read(&self) -> Option<(u64, Vec<u8>)> {
        let word = self.cell.load(Acquire);
        if word == 0 {
            return None;
        }
        let words = &self.memory[memory_of(word)];
        // Lengths are believed only where there is room for them.
        let lengths = words[1].load(Relaxed);
        if lengths == u64::MAX {
            assert!(
                !blob::is_still(&self.cell, word),
                "torn lengths are believed"
            );
            return None;
        }
        let mut copied = Vec::new();
        View::detached(Lengths::of(lengths), words).copy_value(&mut copied);
        blob::is_still(&self.cell, word).then_some((word, copied))
    }

    fn assert_whole(&self) {
        if let Some((word, copied)) = self.read() {
            let number = (word >> 30).to_le_bytes();
            assert_eq!(copied, [number, number].concat(), "a torn read is believed");
        }
    }
}

fn run(threads: Vec<fn(&Shared)>) {
    loom::model(move || {
        let shared = Shared::new();
        let handles: Vec<_> = threads
            .iter()
            .map(|thread| {
                let (shared, thread) = (Arc::clone(&shared), *thread);
                loom::thread::spawn(move || thread(&shared))
            })
            .collect();
        shared.assert_whole();
        for handle in handles {
            handle.join().unwrap();
        }
        shared.assert_whole();
    });
}

#[test]
fn a_value_is_replaced_while_it_is_read() {
    run(vec![|shared| shared.put(1, 2)]);
}

#[test]
fn the_memory_of_a_value_is_used_for_the_next_but_one() {
    run(vec![|shared| {
        shared.put(1, 2);
        shared.put(0, 3);
    }]);
}

#[test]
fn the_memory_of_a_value_is_used_by_somebody_else() {
    run(vec![|shared| shared.put(1, 2), |shared| {
        shared.use_memory(0)
    }]);
}

#[test]
fn a_value_is_taken_out_while_it_is_read() {
    run(vec![
        |shared| {
            blob::commit(&shared.cell, 0);
            shared.blocks[0].store(FREE, Release);
        },
        |shared| shared.use_memory(0),
    ]);
}
