//! A wait: since when, until when, and in slices.
//!
//! Whoever is to wake a sleeper may be killed first, and who it waits for may die: so nobody
//! sleeps for longer than a slice without a look at both. It also makes signals prompt.

use procession_sys::clock::{Deadline, now_ns};

/// One sleep of a waiter, in nanoseconds: signals and dead owners are noticed this late at most.
pub const SLICE_NS: u64 = 100_000_000;
/// The same after a minute's wait.
pub const LATE_SLICE_NS: u64 = 500_000_000;
const MINUTE_NS: u64 = 60_000_000_000;

/// A wait in progress.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    started: u64,
    until: Deadline,
}

impl Waiting {
    /// Begins to wait.
    #[must_use]
    pub fn until(until: Deadline) -> Self {
        Self {
            started: now_ns(),
            until,
        }
    }

    /// Nanoseconds since the wait began.
    #[must_use]
    pub fn ns(&self) -> u64 {
        now_ns().saturating_sub(self.started)
    }

    /// Whether the deadline has come.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.until.is_past()
    }

    /// When the next look at signals and at the living is due.
    #[must_use]
    pub fn slice_end(&self) -> Deadline {
        let slice = if self.ns() < MINUTE_NS {
            SLICE_NS
        } else {
            LATE_SLICE_NS
        };
        Deadline::after_ns(slice).min(self.until)
    }
}
