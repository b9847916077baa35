//! A desk's two sides under every interleaving that loom finds with few preemptions.
#![cfg(loom)]
#![allow(missing_docs)]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use procession_core::claims;
use procession_core::ring::Ring;
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::Relaxed;

struct Shared {
    tail: AtomicU64,
    head: AtomicU64,
    claims: AtomicU64,
    /// What the ring's bytes are: loom reports a read beside a write.
    cells: [UnsafeCell<u32>; 2],
}

// SAFETY: loom checks each access.
unsafe impl Sync for Shared {}
// SAFETY: numbers may move.
unsafe impl Send for Shared {}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            tail: AtomicU64::new(0),
            head: AtomicU64::new(0),
            claims: AtomicU64::new(0),
            cells: std::array::from_fn(|_| UnsafeCell::new(0)),
        })
    }

    fn ring(&self) -> Ring<'_> {
        Ring {
            tail: &self.tail,
            head: &self.head,
            size: 2,
        }
    }

    fn try_put(&self, value: u32) -> bool {
        let ring = self.ring();
        if ring.room() == 0 {
            return false;
        }
        // SAFETY: loom checks that nobody else is there.
        self.cells[ring.put_at() as usize % 2].with_mut(|cell| unsafe { *cell = value });
        ring.commit(1);
        true
    }

    fn try_take(&self) -> Option<u32> {
        let ring = self.ring();
        if ring.filled() == 0 {
            return None;
        }
        // SAFETY: loom checks that nobody writes.
        let value = self.cells[ring.take_at() as usize % 2].with(|cell| unsafe { *cell });
        ring.free(1);
        Some(value)
    }
}

#[test]
fn what_was_put_is_taken_in_order_and_whole() {
    loom::model(|| {
        let shared = Shared::new();
        let writer = {
            let shared = shared.clone();
            thread::spawn(move || (1..=3).take_while(|value| shared.try_put(*value)).count())
        };
        let mut taken = Vec::new();
        for _ in 0..3 {
            taken.extend(shared.try_take());
        }
        let put = writer.join().unwrap();
        while let Some(value) = shared.try_take() {
            taken.push(value);
        }
        assert_eq!(taken, (1..=put as u32).collect::<Vec<_>>());
    });
}

#[test]
fn a_task_is_begun_or_given_to_somebody_else() {
    loom::model(|| {
        let shared = Shared::new();
        assert!(claims::grant(&shared.claims, 0, 3));
        let worker = {
            let shared = shared.clone();
            thread::spawn(move || {
                (0..3)
                    .take_while(|task| claims::begin(&shared.claims, *task))
                    .count() as u32
            })
        };
        let (before, limit) = claims::revoke(&shared.claims, 2);
        // Numbers of tasks that were revoked are passed over, and those after them are begun.
        let granted = claims::grant(&shared.claims, 3, 1);
        let begun = worker.join().unwrap();
        assert_eq!(before, 3);
        assert!(begun <= limit, "begun and revoked");
        if granted {
            let next = if limit == 3 { begun } else { 3 };
            assert!(limit < 3 || begun >= 3 || claims::begin(&shared.claims, next));
        }
        assert!(shared.claims.load(Relaxed) >> 32 >= u64::from(begun));
    });
}
