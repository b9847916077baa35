//! Kills a process after its n-th instruction inside a library.
//!
//! The tests of what a death leaves behind need deaths everywhere, not only where a programmer thought of one. So a victim
//! stops itself (SIGSTOP), this tool traces it, steps it instruction by instruction, and kills it at the n-th *point*: an
//! instruction of the library under test, or the end of a system call. The next victim dies one point later, until one
//! reaches its own second SIGSTOP alive.
//!
//! ```text
//! stdin    PID POINT START-END     START-END: the library's code, hexadecimal
//! stdout   killed POINTS STEPS     the process died after POINTS points
//!          ended POINTS STEPS      it stopped itself first, and was left stopped and untraced
//!          exited POINTS STEPS     it ended by itself
//!          error TEXT
//! ```
//! One process serves all of a run's victims: starting a tracer for each would cost more than the steps.
#![forbid(unsafe_code)]

use std::io::{BufRead, Write};
use std::ops::Range;

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// How a victim's run ended.
#[derive(Debug)]
enum End {
    Killed,
    Stopped,
    Exited,
}

/// What was counted on the way there.
#[derive(Debug)]
struct Run {
    end: End,
    points: u64,
    steps: u64,
}

/// One line of standard input.
#[derive(Debug)]
struct Order {
    pid: Pid,
    point: u64,
    code: Range<u64>,
}

impl Order {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let pid = Pid::from_raw(words.next()?.parse().ok()?);
        let point = words.next()?.parse().ok()?;
        let (start, end) = words.next()?.split_once('-')?;
        let code = u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(end, 16).ok()?;
        Some(Self { pid, point, code })
    }
}

/// Where a stopped thread stands, and whether the step that led there was a system call.
#[derive(Debug)]
struct Place {
    address: u64,
    after_call: bool,
}

#[cfg(target_arch = "x86_64")]
fn place(pid: Pid) -> nix::Result<Place> {
    let registers = ptrace::getregs(pid)?;
    // The kernel leaves the call's number in orig_rax at the end of a system call, and -1 after any other instruction.
    Ok(Place {
        address: registers.rip,
        after_call: registers.orig_rax != u64::MAX,
    })
}

#[cfg(target_arch = "aarch64")]
fn place(pid: Pid) -> nix::Result<Place> {
    let registers = ptrace::getregs(pid)?;
    Ok(Place {
        address: registers.pc,
        after_call: false,
    })
}

/// Waits for a tracee that is somebody else's child.
fn wait(pid: Pid) -> nix::Result<WaitStatus> {
    loop {
        match waitpid(pid, Some(WaitPidFlag::__WALL)) {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

/// Puts a tracee on the tracer's processor: a step is two switches between them, and those cost ten times as much when
/// each wakes another processor.
fn share_processor(pid: Pid) -> nix::Result<()> {
    let mut here = CpuSet::new();
    here.set(sched_getcpu()?)?;
    sched_setaffinity(Pid::from_raw(0), &here)?;
    sched_setaffinity(pid, &here)
}

/// Takes over a process that has stopped itself, and lifts its stop.
fn seize(pid: Pid) -> nix::Result<()> {
    ptrace::seize(pid, ptrace::Options::empty())?;
    wait(pid)?;
    kill(pid, Signal::SIGCONT)
}

/// Steps a traced, stopped process to its `point`-th point, and kills it there.
fn step(pid: Pid, point: u64, code: &Range<u64>) -> nix::Result<Run> {
    let (mut points, mut steps) = (0, 0);
    let mut signal = None;
    loop {
        ptrace::step(pid, signal.take())?;
        match wait(pid)? {
            WaitStatus::Stopped(_, Signal::SIGTRAP) => {
                steps += 1;
                let place = place(pid)?;
                if !code.contains(&place.address) && !place.after_call {
                    continue;
                }
                points += 1;
                if points < point {
                    continue;
                }
                kill(pid, Signal::SIGKILL)?;
                while !matches!(
                    wait(pid),
                    Ok(WaitStatus::Signaled(..) | WaitStatus::Exited(..)) | Err(_)
                ) {}
                return Ok(Run {
                    end: End::Killed,
                    points,
                    steps,
                });
            }
            WaitStatus::Stopped(_, Signal::SIGSTOP) => {
                // Untraced, and stopped again for whoever waits for that.
                ptrace::detach(pid, Some(Signal::SIGSTOP))?;
                return Ok(Run {
                    end: End::Stopped,
                    points,
                    steps,
                });
            }
            // What lifts the first stop arrives late, as a signal and as an event of the trace.
            WaitStatus::Stopped(_, Signal::SIGCONT) | WaitStatus::PtraceEvent(..) => {}
            WaitStatus::Stopped(_, other) => signal = Some(other),
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => {
                return Ok(Run {
                    end: End::Exited,
                    points,
                    steps,
                });
            }
            _ => {}
        }
    }
}

fn obey(order: &Order) -> nix::Result<Run> {
    seize(order.pid)?;
    share_processor(order.pid)?;
    step(order.pid, order.point, &order.code)
}

fn main() {
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { return };
        match Order::parse(&line).map(|order| obey(&order)) {
            None => println!("error not an order: {line}"),
            Some(Err(errno)) => println!("error {line}: {errno}"),
            Some(Ok(Run { end, points, steps })) => {
                let word = match end {
                    End::Killed => "killed",
                    End::Stopped => "ended",
                    End::Exited => "exited",
                };
                println!("{word} {points} {steps}");
            }
        }
        if std::io::stdout().flush().is_err() {
            return;
        }
    }
}
