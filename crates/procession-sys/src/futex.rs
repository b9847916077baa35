//! Sleep on a word, wake who sleeps there. The only futex file of the project.
//!
//! Never `FUTEX_PRIVATE_FLAG`: the words lie in a file that several processes map, perhaps at
//! different addresses. Deadlines are absolute and monotonic, so `EINTR` needs no arithmetic.

use crate::clock::Deadline;
use crate::prim::AtomicU32;

/// Why a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// Somebody woke us, or the kernel did for no reason.
    Woken,
    /// The word no longer held what was expected: there was nothing to sleep for.
    Changed,
    /// The deadline came.
    TimedOut,
    /// A signal handler ran.
    Interrupted,
}

/// Sleeps while `word` holds `expected`, at most until `until`.
#[cfg(not(loom))]
#[must_use = "a wait proves nothing: re-check what was waited for"]
pub fn wait(word: &AtomicU32, expected: u32, until: Deadline) -> Wait {
    let ts = until.timespec();
    let ts_ptr = ts.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `word` outlives the call, `ts_ptr` is null or points at `ts`; the unused
    // address argument is null, which FUTEX_WAIT_BITSET ignores.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT_BITSET,
            expected,
            ts_ptr,
            std::ptr::null::<u32>(),
            libc::FUTEX_BITSET_MATCH_ANY,
        )
    };
    if rc == 0 {
        return Wait::Woken;
    }
    match std::io::Error::last_os_error().raw_os_error() {
        Some(libc::EAGAIN) => Wait::Changed,
        Some(libc::ETIMEDOUT) => Wait::TimedOut,
        _ => Wait::Interrupted,
    }
}

/// Wakes up to `count` sleepers and says how many there were.
#[cfg(not(loom))]
pub fn wake(word: &AtomicU32, count: u32) -> usize {
    // SAFETY: `word` is a live, aligned u32; FUTEX_WAKE reads none of the other arguments.
    let rc = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, count) };
    usize::try_from(rc).unwrap_or(0)
}

#[cfg(loom)]
pub use modelled::{crash, wait, wake};

/// loom has no futex: one parking lot for all words, with its Mutex and Condvar.
///
/// A wait has no deadline here, so a lost wake-up is a deadlock that loom reports. After a
/// modelled [`crash`] every wait times out at once, as slices do in life.
#[cfg(loom)]
mod modelled {
    use super::{AtomicU32, Deadline, Wait};
    use crate::prim::Ordering::SeqCst;
    use loom::sync::atomic::AtomicBool;
    use loom::sync::{Condvar, Mutex};

    loom::lazy_static! {
        /// How many sleep.
        static ref LOT: Mutex<u32> = Mutex::new(0);
        static ref BELL: Condvar = Condvar::new();
        static ref CRASHED: AtomicBool = AtomicBool::new(false);
    }

    /// Sleeps while `word` holds `expected`, at most until a modelled crash.
    pub fn wait(word: &AtomicU32, expected: u32, _until: Deadline) -> Wait {
        let mut sleepers = LOT.lock().unwrap();
        if word.load(SeqCst) != expected {
            return Wait::Changed;
        }
        if CRASHED.load(SeqCst) {
            drop(sleepers);
            loom::thread::yield_now();
            return Wait::TimedOut;
        }
        *sleepers += 1;
        drop(BELL.wait(sleepers).unwrap());
        if CRASHED.load(SeqCst) {
            Wait::TimedOut
        } else {
            Wait::Woken
        }
    }

    /// Wakes `count` sleepers, no more: to wake all would hide a lost waiters' bit. Models have
    /// one futex word each, so whoever sleeps in the lot sleeps on it.
    pub fn wake(_word: &AtomicU32, count: u32) -> usize {
        let mut sleepers = LOT.lock().unwrap();
        let woken = count.min(*sleepers);
        *sleepers -= woken;
        for _ in 0..woken {
            BELL.notify_one();
        }
        woken as usize
    }

    /// From now on somebody is dead: waits end by themselves.
    pub fn crash() {
        let mut sleepers = LOT.lock().unwrap();
        *sleepers = 0;
        CRASHED.store(true, SeqCst);
        BELL.notify_all();
    }
}
