//! A desk: where one worker of a pool finds its tasks and leaves its results.
//!
//! ```text
//! parent  ---- ring of tasks ---->   worker       wakes it: an eventcount
//!         <--- ring of results ---                rings a bell that the parent can poll
//!         <--- claims ----------->                begun, or given to somebody else
//! ```
//!
//! Tasks and results of a desk have one writer and one reader each, so there is nothing to lock
//! and nothing to repair. When a worker has died its parent takes the results that were
//! committed, reads the claims, and knows of every task: done, lost (begun and without a
//! result), or not begun.
//!
//! The parent says before it sleeps what is worth a ring; the first worker that sees it takes
//! the wish down again, so that a bell is rung once. A worker killed between its commit and the
//! ring wakes the parent by its death.

use crate::claims;
use crate::eventcount;
use crate::lock::Waited;
use crate::ring::Ring;
use crate::waiting::Waiting;
use procession_shm::layout::DeskLines;
use procession_sys::clock::now_ns;
use procession_sys::crash_point;
use procession_sys::futex::Wait;
use procession_sys::prim::Ordering::{Relaxed, SeqCst};
use procession_sys::prim::{AtomicU32, AtomicU64, fence};

/// What a parent that sleeps wants to be woken for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Watch {
    /// Nothing: it looks by itself.
    Awake = 0,
    /// A worker that has nothing left to do.
    Idle = 1,
    /// Any result.
    Any = 2,
    /// Any result, for a caller that sleeps at the desk itself and needs no bell.
    Caller = 3,
}

impl Watch {
    /// Reads a number.
    #[must_use]
    pub fn of(bits: u32) -> Self {
        match bits {
            0 => Self::Awake,
            1 => Self::Idle,
            3 => Self::Caller,
            _ => Self::Any,
        }
    }
}

/// The ring of tasks.
#[inline]
#[must_use]
pub fn tasks(lines: &DeskLines) -> Ring<'_> {
    Ring {
        tail: &lines.in_tail,
        head: &lines.in_head,
        size: lines.in_size.load(Relaxed),
    }
}

/// The ring of results.
#[inline]
#[must_use]
pub fn results(lines: &DeskLines) -> Ring<'_> {
    Ring {
        tail: &lines.out_tail,
        head: &lines.out_head,
        size: lines.out_size.load(Relaxed),
    }
}

/// What the parent is to be woken for, and what decides whether it is: the words of a desk that both sides look at.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// A [`Watch`].
    pub watch: &'a AtomicU32,
    /// Where a caller sleeps.
    pub heard: &'a AtomicU32,
    /// Which tasks there are.
    pub claims: &'a AtomicU64,
    /// The ring of results.
    pub results: Ring<'a>,
}

impl Wish<'_> {
    /// The parent's: it sleeps from now on, unless there are results already (false).
    #[must_use]
    pub fn make(&self, what: Watch) -> bool {
        self.watch.store(what as u32, SeqCst);
        // Pairs with the fence in `must_ring`: either the worker sees the wish, or we its result.
        fence(SeqCst);
        crash_point!("desk.watching");
        self.results.filled() == 0
    }

    /// The worker's, after a commit: whether it is to ring the bell.
    #[inline]
    #[must_use]
    pub fn must_ring(&self) -> bool {
        // Pairs with the fence in `make`.
        fence(SeqCst);
        match Watch::of(self.watch.load(Relaxed)) {
            Watch::Awake => false,
            Watch::Caller => {
                eventcount::wake(self.heard, 1);
                false
            }
            Watch::Idle if claims::look(self.claims).left() > 0 => false,
            Watch::Idle | Watch::Any => self.take_down(),
        }
    }

    #[cold]
    fn take_down(&self) -> bool {
        self.watch.swap(Watch::Awake as u32, SeqCst) != Watch::Awake as u32
    }
}

/// What the parent of this desk is to be woken for.
#[inline]
#[must_use]
pub fn wish(lines: &DeskLines) -> Wish<'_> {
    Wish {
        watch: &lines.watch,
        heard: &lines.heard,
        claims: &lines.claims,
        results: results(lines),
    }
}

/// The worker's, when it cannot go on: rings whatever the parent sleeps for.
#[must_use]
pub fn must_ring_for_room(lines: &DeskLines) -> bool {
    fence(SeqCst);
    wish(lines).take_down()
}

const NS_OF_MS: u64 = 1_000_000;

/// The worker's, before it begins task `number`: notes that it did so at that time.
#[inline]
pub fn note_begin(word: &AtomicU64, number: u32, ns: u64) {
    // Rounded up: nobody is told that a task has run for longer than it has. The claim publishes it.
    let ms = ns.div_ceil(NS_OF_MS) as u32;
    word.store(u64::from(ms) << 32 | u64::from(number), Relaxed);
}

/// The parent's, having seen that task `number` has begun: milliseconds since then, or a little less; None: that has not
/// been noted.
#[must_use]
pub fn begun_ago(word: &AtomicU64, number: u32) -> Option<u32> {
    let noted = word.load(Relaxed);
    if noted == 0 || noted as u32 != number {
        return None;
    }
    let ago = ((now_ns() / NS_OF_MS) as u32).wrapping_sub((noted >> 32) as u32);
    Some(if ago > u32::MAX / 2 { 0 } else { ago })
}

/// Sleeps for one slice at most, or until `is_there`; None is "it is".
#[must_use]
pub fn sleep(word: &AtomicU32, is_there: impl Fn() -> bool, waiting: &Waiting) -> Option<Waited> {
    let token = eventcount::prepare(word);
    if is_there() {
        return None;
    }
    match eventcount::sleep(word, token, waiting.slice_end()) {
        Wait::TimedOut if waiting.is_over() => Some(Waited::TimedOut),
        Wait::TimedOut | Wait::Interrupted | Wait::Woken | Wait::Changed => {
            if is_there() {
                None
            } else {
                Some(Waited::Slice)
            }
        }
    }
}
