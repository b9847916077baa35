//! Processes that die at a point, how they ended, and the count of the cases.

use crate::lanes;
use procession_sys::clock::now_ns;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    Exited(i32),
    Killed(i32),
}

impl Ended {
    /// As one word, for another process.
    fn word(self) -> u32 {
        let number = match self {
            Self::Exited(code) => code,
            Self::Killed(signal) => -signal,
        };
        number as u32
    }

    fn of(word: u32) -> Self {
        match word as i32 {
            code @ 0.. => Self::Exited(code),
            signal => Self::Killed(-signal),
        }
    }

    /// As waitpid(2) says it.
    pub(crate) fn by(status: i32) -> Self {
        if libc::WIFSIGNALED(status) {
            Self::Killed(libc::WTERMSIG(status))
        } else {
            Self::Exited(libc::WEXITSTATUS(status))
        }
    }
}

pub(crate) const HIT: Ended = Ended::Killed(libc::SIGKILL);
pub(crate) const DONE: Ended = Ended::Exited(0);
/// The exit status of a case whose victim did not come to the point.
pub(crate) const MISSED: i32 = 70;
/// No case takes longer; who does hangs and is ended by SIGALRM.
const HANG_SECONDS: u32 = 20;

/// A child that runs `body` and exits with what it returns.
pub(crate) fn spawn(body: impl FnOnce() -> i32) -> i32 {
    // SAFETY: this process has one thread, so the child may run anything.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed");
    if pid != 0 {
        return pid;
    }
    // SAFETY: alarm has no memory effects.
    unsafe { libc::alarm(HANG_SECONDS) };
    let code = std::panic::catch_unwind(AssertUnwindSafe(body)).unwrap_or(101);
    // SAFETY: ends the child without the parent's exit handlers.
    unsafe { libc::_exit(code) }
}

pub(crate) fn wait(pid: i32) -> Ended {
    let mut status = 0;
    // SAFETY: `status` is a live int that the call fills.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(waited, pid);
    Ended::by(status)
}

/// Runs `body` in a child of its own.
pub(crate) fn in_a_process(body: impl FnOnce() -> i32) -> Ended {
    wait(spawn(body))
}

/// From now on this process dies at `point`.
pub(crate) fn die_at(point: &str, count: u32) {
    // SAFETY: this process has one thread.
    unsafe { std::env::set_var("PROCESSION_CRASH", format!("{point}:{count}")) };
}

/// Counts cases and remembers which failed.
pub(crate) struct Tally {
    started: u64,
    passed: usize,
    failed: Vec<String>,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            started: now_ns(),
            passed: 0,
            failed: Vec::new(),
        }
    }

    pub(crate) fn cases(&self) -> usize {
        self.passed + self.failed.len()
    }

    /// A case at each place for each arrival there, up to `N`; which places were come to at all.
    pub(crate) fn at_each<P: Copy, const N: usize>(
        &mut self,
        places: Vec<P>,
        run: impl Fn(P, u32) -> Ended,
        name: impl Fn(P) -> String,
    ) -> Vec<P> {
        let found = lanes::each(places.len(), |place| {
            let mut ends = [Ended::Exited(MISSED).word(); N];
            for (end, count) in ends.iter_mut().zip(1..) {
                let ended = run(places[place], count);
                *end = ended.word();
                if ended == Ended::Exited(MISSED) {
                    break;
                }
            }
            ends
        });
        let mut hit = Vec::new();
        for (place, ends) in places.into_iter().zip(found) {
            for (count, ended) in (1..).zip(ends.map(Ended::of)) {
                if !self.note(ended, || format!("{}:{count}", name(place))) {
                    break;
                }
                if count == 1 {
                    hit.push(place);
                }
            }
        }
        hit
    }

    /// Each case, once.
    pub(crate) fn of_each<C: Copy>(
        &mut self,
        cases: Vec<C>,
        run: impl Fn(C) -> Ended,
        name: impl Fn(C) -> String,
    ) {
        let found = lanes::each(cases.len(), |case| [run(cases[case]).word()]);
        for (case, [ended]) in cases.into_iter().zip(found) {
            self.note(Ended::of(ended), || name(case));
        }
    }

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

    /// The last line, as cargo's own harness has it.
    pub(crate) fn finish(self) -> ExitCode {
        let took = (now_ns() - self.started) / 1_000_000_000;
        let (word, failed) = match self.failed.len() {
            0 => ("ok", 0),
            some => ("FAILED", some),
        };
        println!(
            "test result: {word}. {} passed; {failed} failed; 0 ignored; finished in {took}s",
            self.passed
        );
        ExitCode::from(u8::from(failed > 0))
    }
}
