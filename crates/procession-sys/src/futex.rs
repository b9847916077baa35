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

/// Lets those who sleep on `word` sleep on `target` instead, if `word` still holds `expected`;
/// how many they were. Whoever wakes them there must know that they have come: they announced
/// themselves at `word` only.
#[cfg(not(loom))]
pub fn requeue(word: &AtomicU32, expected: u32, target: &AtomicU32) -> usize {
    const WAKE_NONE: i32 = 0;
    const ALL: libc::c_ulong = i32::MAX as libc::c_ulong;
    // SAFETY: both words are live and aligned; the operation takes a number in the place of
    // the timeout, and only reads `word`.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_CMP_REQUEUE,
            WAKE_NONE,
            ALL,
            target.as_ptr(),
            expected,
        )
    };
    usize::try_from(rc).unwrap_or(0)
}

#[cfg(loom)]
pub use modelled::{crash, requeue, wait, wake};

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

    /// Who sleeps: the address of the word and a number of the sleeper's own.
    struct Lot {
        sleepers: Vec<(usize, u32)>,
        numbers: u32,
    }

    loom::lazy_static! {
        static ref LOT: Mutex<Lot> = Mutex::new(Lot { sleepers: Vec::new(), numbers: 0 });
        static ref BELL: Condvar = Condvar::new();
        static ref CRASHED: AtomicBool = AtomicBool::new(false);
    }

    fn address(word: &AtomicU32) -> usize {
        std::ptr::from_ref(word) as usize
    }

    /// Sleeps while `word` holds `expected`, at most until a modelled crash.
    pub fn wait(word: &AtomicU32, expected: u32, _until: Deadline) -> Wait {
        let mut lot = LOT.lock().unwrap();
        if word.load(SeqCst) != expected {
            return Wait::Changed;
        }
        if CRASHED.load(SeqCst) {
            drop(lot);
            loom::thread::yield_now();
            return Wait::TimedOut;
        }
        lot.numbers += 1;
        let me = lot.numbers;
        lot.sleepers.push((address(word), me));
        loop {
            lot = BELL.wait(lot).unwrap();
            let Some(place) = lot.sleepers.iter().position(|(_, number)| *number == me) else {
                return Wait::Woken;
            };
            if CRASHED.load(SeqCst) {
                lot.sleepers.remove(place);
                return Wait::TimedOut;
            }
        }
    }

    /// Wakes `count` sleepers, no more: to wake all would hide a lost waiters' bit.
    pub fn wake(word: &AtomicU32, count: u32) -> usize {
        let mut lot = LOT.lock().unwrap();
        let before = lot.sleepers.len();
        let mut left = count;
        lot.sleepers.retain(|(at, _)| {
            let woken = *at == address(word) && left > 0;
            left -= u32::from(woken);
            !woken
        });
        let woken = before - lot.sleepers.len();
        if woken > 0 {
            BELL.notify_all();
        }
        woken
    }

    /// Moves the sleepers of one word to another.
    pub fn requeue(word: &AtomicU32, expected: u32, target: &AtomicU32) -> usize {
        let mut lot = LOT.lock().unwrap();
        if word.load(SeqCst) != expected {
            return 0;
        }
        let mut moved = 0;
        for (at, _) in &mut lot.sleepers {
            if *at == address(word) {
                *at = address(target);
                moved += 1;
            }
        }
        moved
    }

    /// From now on somebody is dead: waits end by themselves.
    pub fn crash() {
        let _lot = LOT.lock().unwrap();
        CRASHED.store(true, SeqCst);
        BELL.notify_all();
    }
}
