//! Monotonic time. A user's timeout becomes a [`Deadline`] once, at the door.

fn read(clock: libc::clockid_t) -> u64 {
    let mut ts = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `ts` is a live timespec that the call fills; the clocks asked for always exist.
    unsafe { libc::clock_gettime(clock, &raw mut ts) };
    ts.tv_sec as u64 * 1_000_000_000 + ts.tv_nsec as u64
}

/// Nanoseconds of `CLOCK_MONOTONIC`.
#[must_use]
pub fn now_ns() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

/// Milliseconds of `CLOCK_MONOTONIC_COARSE`, a tick behind at most and cheap; they wrap.
#[must_use]
pub fn coarse_ms() -> u32 {
    (read(libc::CLOCK_MONOTONIC_COARSE) / 1_000_000) as u32
}

/// Nanoseconds since boot, sleep included: what processes' start times are counted in.
#[must_use]
pub fn since_boot_ns() -> u64 {
    read(libc::CLOCK_BOOTTIME)
}

/// Sleeps for `ns` nanoseconds, less than a second, or until a signal comes. Async-signal-safe.
pub fn pause(ns: u64) {
    let pause = libc::timespec {
        tv_sec: 0,
        tv_nsec: ns as i64,
    };
    // SAFETY: the pause is live and only read; the rest of it is not asked for.
    unsafe { libc::nanosleep(&raw const pause, std::ptr::null_mut()) };
}

/// An absolute point of `CLOCK_MONOTONIC`, or never.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Deadline(u64);

impl Deadline {
    /// No deadline.
    pub const NEVER: Self = Self(u64::MAX);

    /// The point `ns` nanoseconds from now.
    #[must_use]
    pub fn after_ns(ns: u64) -> Self {
        Self(now_ns().saturating_add(ns))
    }

    /// The point `seconds` from now; negative is now, too large or infinite is never.
    #[must_use]
    pub fn after_seconds(seconds: f64) -> Self {
        const CENTURY: f64 = 3.2e9;
        if seconds >= CENTURY {
            return Self::NEVER;
        }
        Self::after_ns((seconds.max(0.0) * 1e9) as u64)
    }

    /// Whether the point has come.
    #[must_use]
    pub fn is_past(self) -> bool {
        self != Self::NEVER && now_ns() >= self.0
    }

    /// The earlier of the two.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self(self.0.min(other.0))
    }

    /// What is left until then; None for never.
    pub(crate) fn left(self) -> Option<libc::timespec> {
        let ns = self.0.saturating_sub(now_ns());
        (self != Self::NEVER).then_some(libc::timespec {
            tv_sec: (ns / 1_000_000_000) as i64,
            tv_nsec: (ns % 1_000_000_000) as i64,
        })
    }

    #[cfg_attr(
        loom,
        expect(dead_code, reason = "the modelled futex has no deadlines")
    )]
    pub(crate) fn timespec(self) -> Option<libc::timespec> {
        (self != Self::NEVER).then_some(libc::timespec {
            tv_sec: (self.0 / 1_000_000_000) as i64,
            tv_nsec: (self.0 % 1_000_000_000) as i64,
        })
    }
}
