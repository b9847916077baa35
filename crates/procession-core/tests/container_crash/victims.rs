//! Processes that die at a point, and how they ended.

use std::panic::AssertUnwindSafe;

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    Exited(i32),
    Killed(i32),
}

impl Ended {
    /// As one word, for another process.
    pub(crate) fn word(self) -> u32 {
        let number = match self {
            Self::Exited(code) => code,
            Self::Killed(signal) => -signal,
        };
        number as u32
    }

    pub(crate) fn of(word: u32) -> Self {
        match word as i32 {
            code @ 0.. => Self::Exited(code),
            signal => Self::Killed(-signal),
        }
    }
}

pub(crate) const HIT: Ended = Ended::Killed(libc::SIGKILL);
pub(crate) const DONE: Ended = Ended::Exited(0);
/// The exit status of a case whose victim did not come to the point.
pub(crate) const MISSED: i32 = 70;
/// No case takes longer; who does hangs and is ended by SIGALRM.
const HANG_SECONDS: u32 = 20;

/// Runs `body` in a child, which exits with what it returns.
pub(crate) fn in_a_process(body: impl FnOnce() -> i32) -> Ended {
    // SAFETY: this process has one thread, so the child may run anything.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed");
    if pid == 0 {
        // SAFETY: alarm has no memory effects.
        unsafe { libc::alarm(HANG_SECONDS) };
        let code = std::panic::catch_unwind(AssertUnwindSafe(body)).unwrap_or(101);
        // SAFETY: ends the child without the parent's exit handlers.
        unsafe { libc::_exit(code) }
    }
    let mut status = 0;
    // SAFETY: `status` is a live int that the call fills.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(waited, pid);
    if libc::WIFSIGNALED(status) {
        Ended::Killed(libc::WTERMSIG(status))
    } else {
        Ended::Exited(libc::WEXITSTATUS(status))
    }
}

/// From now on this process dies at `point`.
pub(crate) fn die_at(point: &str, count: u32) {
    // SAFETY: this process has one thread.
    unsafe { std::env::set_var("PROCESSION_CRASH", format!("{point}:{count}")) };
}

/// Counts cases and remembers which failed.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: Vec<String>,
}

impl Tally {
    /// True when the point was reached at all.
    pub(crate) fn note(&mut self, ended: Ended, name: impl FnOnce() -> String) -> bool {
        match ended {
            DONE => self.passed += 1,
            Ended::Exited(MISSED) => return false,
            other => {
                let name = name();
                eprintln!("FAILED {name}: {other:?}");
                self.failed.push(name);
            }
        }
        true
    }
}
