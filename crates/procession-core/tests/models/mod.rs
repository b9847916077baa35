//! What the loom models share: processes that die, data that a lock guards.
#![allow(dead_code)] // each model uses its part

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::AtomicBool;
use loom::sync::atomic::Ordering::{Acquire, Release};
use procession_core::lock::{Acquired, Party, SharedLock, Waited, Waiting};
use procession_shm::{Liveness, OwnerId};
use procession_sys::clock::Deadline;
use procession_sys::futex;

/// Says who is dead. In life the kernel answers after the last store of the process; here the
/// flag's Release and Acquire carry as much.
pub(crate) struct Oracle {
    /// Four slots, two generations.
    dead: [AtomicBool; 8],
}

impl Oracle {
    pub(crate) fn new() -> Self {
        Self {
            dead: std::array::from_fn(|_| AtomicBool::new(false)),
        }
    }

    /// `owner` ends as SIGKILL ends it: whatever it holds stays held.
    pub(crate) fn dies(&self, owner: OwnerId) {
        self.dead[place(owner).unwrap()].store(true, Release);
        futex::crash();
    }
}

impl Liveness for Oracle {
    fn is_dead(&self, owner: OwnerId) -> bool {
        owner == OwnerId::DECEASED
            || place(owner).is_some_and(|place| self.dead[place].load(Acquire))
    }

    fn pid_of(&self, owner: OwnerId) -> u32 {
        owner.slot().map_or(0, |slot| slot as u32 + 100)
    }
}

fn place(owner: OwnerId) -> Option<usize> {
    Some(owner.slot()? + 4 * usize::from(owner.is_generation(2)))
}

/// The process of that number.
pub(crate) fn owner(number: usize) -> OwnerId {
    OwnerId::new(number, 1)
}

/// A thread of the process of that number.
pub(crate) fn party(number: usize, thread: u64) -> Party {
    Party {
        owner: owner(number),
        thread,
    }
}

/// What a lock guards. loom reports two threads in it at once, and also one that comes after
/// another without a happens-before: orderings are checked, not only exclusion.
pub(crate) struct Guarded(UnsafeCell<u32>);

// SAFETY: loom checks each access.
unsafe impl Sync for Guarded {}
// SAFETY: a number may move.
unsafe impl Send for Guarded {}

impl Guarded {
    pub(crate) fn new() -> Self {
        Self(UnsafeCell::new(0))
    }

    /// Writes what `f` makes of the value.
    pub(crate) fn change(&self, f: impl FnOnce(u32) -> u32) {
        self.0.with_mut(|at| {
            // SAFETY: loom has checked that nobody else is here.
            let value = unsafe { &mut *at };
            *value = f(*value);
        });
    }

    pub(crate) fn read(&self) -> u32 {
        self.0.with(|at| {
            // SAFETY: loom has checked that nobody writes.
            unsafe { *at }
        })
    }
}

/// Acquires as the interface above does: a try, then slices.
pub(crate) fn acquire(lock: SharedLock<'_>, me: Party, live: &impl Liveness) -> Acquired {
    if lock.try_acquire(me) {
        return Acquired::Clean;
    }
    let waiting = Waiting::until(Deadline::NEVER);
    loop {
        match lock.wait(me, live, &waiting) {
            Waited::Acquired(how) => return how,
            Waited::Slice => loom::thread::yield_now(),
            Waited::TimedOut => unreachable!("no deadline"),
        }
    }
}

/// Runs `threads` at once, the last one on the model's own thread.
pub(crate) fn together<T: Send + Sync + 'static>(shared: &Arc<T>, threads: Vec<fn(&T)>) {
    let handles: Vec<_> = threads
        .into_iter()
        .map(|thread| {
            let shared = Arc::clone(shared);
            loom::thread::spawn(move || thread(&shared))
        })
        .collect();
    for handle in handles {
        handle.join().unwrap();
    }
}
