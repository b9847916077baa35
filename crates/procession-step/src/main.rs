//! Kills a process at an exact instruction inside a library.
//!
//! The tests of what a death leaves behind need deaths everywhere, not only where a programmer thought of one. So a victim
//! stops itself (SIGSTOP) and this tool takes it over. It steps the first victim through the whole act and notes each
//! *place*: an instruction of the library under test, or where a system call returned. Then victims are killed at these
//! places, one each, just before the instruction: a breakpoint gets them there, since stepping would take hours.
//!
//! ```text
//! stdin    trace PID START-END                START-END: the library's code, hexadecimal
//!          step PID POINT START-END           to the POINT-th place, step by step (for acts that fork)
//!          kill PID ADDRESS OCCURRENCE        at the OCCURRENCE-th arrival at a place (hexadecimal)
//! stdout   traced POINTS STEPS ADDRESS:OCCURRENCES ...
//!          killed POINTS STEPS                the process died there
//!          ended POINTS STEPS                 it stopped itself first, and was left stopped and untraced
//!          exited POINTS STEPS                it ended by itself
//!          error TEXT
//! ```
//! One process serves all victims of a run: starting a tracer for each would cost more than their deaths.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead, Write};
use std::ops::Range;

use nix::errno::Errno;
use nix::libc::{c_long, user_regs_struct};
use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

#[cfg(target_arch = "x86_64")]
mod machine {
    use super::{c_long, user_regs_struct};

    pub(crate) fn address(registers: &user_regs_struct) -> u64 {
        registers.rip
    }

    pub(crate) fn set_address(registers: &mut user_regs_struct, address: u64) {
        registers.rip = address;
    }

    /// The kernel leaves the call's number in `orig_rax` at the end of a system call, and -1 after any other instruction.
    pub(crate) fn after_call(registers: &user_regs_struct) -> bool {
        registers.orig_rax != u64::MAX
    }

    /// `int3` in the first byte of a word of code; the process stops behind it.
    pub(crate) fn with_breakpoint(word: c_long) -> c_long {
        word & !0xff | 0xcc
    }
    pub(crate) const BEHIND_BREAKPOINT: u64 = 1;
}

#[cfg(target_arch = "aarch64")]
mod machine {
    use super::{c_long, user_regs_struct};

    pub(crate) fn address(registers: &user_regs_struct) -> u64 {
        registers.pc
    }

    pub(crate) fn set_address(registers: &mut user_regs_struct, address: u64) {
        registers.pc = address;
    }

    pub(crate) fn after_call(_: &user_regs_struct) -> bool {
        false
    }

    /// `brk #0` in the first half of a word of code; the process stops at it.
    pub(crate) fn with_breakpoint(word: c_long) -> c_long {
        word & !0xffff_ffff | 0xd420_0000
    }
    pub(crate) const BEHIND_BREAKPOINT: u64 = 0;
}

/// How a victim's run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Killed,
    Stopped,
    Exited,
}

/// One line of standard input.
#[derive(Debug)]
enum Order {
    Trace { code: Range<u64> },
    Step { point: u64, code: Range<u64> },
    Kill { address: u64, occurrence: u64 },
}

impl Order {
    fn parse(line: &str) -> Option<(Pid, Self)> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let pid = Pid::from_raw(words.get(1)?.parse().ok()?);
        let order = match words[..] {
            ["trace", _, code] => Self::Trace {
                code: parse_range(code)?,
            },
            ["step", _, point, code] => Self::Step {
                point: point.parse().ok()?,
                code: parse_range(code)?,
            },
            ["kill", _, address, occurrence] => Self::Kill {
                address: u64::from_str_radix(address, 16).ok()?,
                occurrence: occurrence.parse().ok()?,
            },
            _ => return None,
        };
        Some((pid, order))
    }
}

fn parse_range(text: &str) -> Option<Range<u64>> {
    let (start, end) = text.split_once('-')?;
    Some(u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(end, 16).ok()?)
}

/// Why a running tracee came to a halt.
#[derive(Debug)]
enum Halt {
    /// A step is done, or a breakpoint was met.
    Trap,
    /// It stopped itself: its act is over.
    Stopped,
    Exited,
}

/// A traced process.
#[derive(Debug)]
struct Victim {
    pid: Pid,
}

impl Victim {
    /// Takes over a process that has stopped itself, lifts its stop and puts it on the tracer's processor: a step is two
    /// switches between them, and those cost ten times as much when each wakes another processor.
    fn seize(pid: Pid) -> nix::Result<Self> {
        ptrace::seize(pid, ptrace::Options::empty())?;
        let victim = Self { pid };
        victim.wait()?;
        kill(pid, Signal::SIGCONT)?;
        let mut here = CpuSet::new();
        here.set(sched_getcpu()?)?;
        sched_setaffinity(Pid::from_raw(0), &here)?;
        sched_setaffinity(pid, &here)?;
        Ok(victim)
    }

    /// The victim is somebody else's child, hence `__WALL`.
    fn wait(&self) -> nix::Result<WaitStatus> {
        loop {
            match waitpid(self.pid, Some(WaitPidFlag::__WALL)) {
                Err(Errno::EINTR) => {}
                other => return other,
            }
        }
    }

    /// Resumes by `go` until something happens that matters; other signals reach the victim.
    fn run(&self, go: fn(Pid, Option<Signal>) -> nix::Result<()>) -> nix::Result<Halt> {
        let mut signal = None;
        loop {
            go(self.pid, signal.take())?;
            match self.wait()? {
                WaitStatus::Stopped(_, Signal::SIGTRAP) => return Ok(Halt::Trap),
                WaitStatus::Stopped(_, Signal::SIGSTOP) => {
                    // Untraced, and stopped again for whoever waits for that.
                    ptrace::detach(self.pid, Some(Signal::SIGSTOP))?;
                    return Ok(Halt::Stopped);
                }
                // What lifts the first stop arrives late, as a signal and as an event of the trace.
                WaitStatus::Stopped(_, Signal::SIGCONT) | WaitStatus::PtraceEvent(..) => {}
                WaitStatus::Stopped(_, other) => signal = Some(other),
                WaitStatus::Exited(..) | WaitStatus::Signaled(..) => return Ok(Halt::Exited),
                _ => {}
            }
        }
    }

    fn kill(&self) -> nix::Result<()> {
        kill(self.pid, Signal::SIGKILL)?;
        while !matches!(
            self.wait(),
            Ok(WaitStatus::Signaled(..) | WaitStatus::Exited(..)) | Err(_)
        ) {}
        Ok(())
    }

    /// Steps through the act, showing each place to `meet`, which says whether the victim may go on.
    fn step(
        &self,
        code: &Range<u64>,
        mut meet: impl FnMut(u64) -> bool,
    ) -> nix::Result<(End, u64)> {
        let mut steps = 0;
        loop {
            match self.run(ptrace::step)? {
                Halt::Stopped => return Ok((End::Stopped, steps)),
                Halt::Exited => return Ok((End::Exited, steps)),
                Halt::Trap => {}
            }
            steps += 1;
            let registers = ptrace::getregs(self.pid)?;
            let address = machine::address(&registers);
            if (code.contains(&address) || machine::after_call(&registers)) && !meet(address) {
                self.kill()?;
                return Ok((End::Killed, steps));
            }
        }
    }

    /// Lets the victim run to an address, again and again.
    fn run_to(&self, address: u64, occurrence: u64) -> nix::Result<(End, u64)> {
        let place = address as ptrace::AddressType;
        let word = ptrace::read(self.pid, place)?;
        for arrivals in 1.. {
            ptrace::write(self.pid, place, machine::with_breakpoint(word))?;
            match self.run(ptrace::cont)? {
                Halt::Stopped => return Ok((End::Stopped, arrivals - 1)),
                Halt::Exited => return Ok((End::Exited, arrivals - 1)),
                Halt::Trap => {}
            }
            if arrivals == occurrence {
                self.kill()?;
                return Ok((End::Killed, arrivals));
            }
            let mut registers = ptrace::getregs(self.pid)?;
            if machine::address(&registers) != address + machine::BEHIND_BREAKPOINT {
                return Err(Errno::EFAULT);
            }
            machine::set_address(&mut registers, address);
            ptrace::setregs(self.pid, registers)?;
            ptrace::write(self.pid, place, word)?;
            match self.run(ptrace::step)? {
                Halt::Stopped => return Ok((End::Stopped, arrivals)),
                Halt::Exited => return Ok((End::Exited, arrivals)),
                Halt::Trap => {}
            }
        }
        unreachable!("a count without end")
    }
}

/// The places of one run, in the order of first arrival.
#[derive(Debug, Default)]
struct Places {
    order: Vec<u64>,
    arrivals: HashMap<u64, u64>,
}

impl Places {
    fn meet(&mut self, address: u64) {
        let arrivals = self.arrivals.entry(address).or_default();
        if *arrivals == 0 {
            self.order.push(address);
        }
        *arrivals += 1;
    }
}

fn obey(pid: Pid, order: &Order) -> nix::Result<String> {
    let victim = Victim::seize(pid)?;
    let mut points = 0;
    let (end, steps) = match order {
        Order::Trace { code } => {
            let mut places = Places::default();
            let (end, steps) = victim.step(code, |address| {
                places.meet(address);
                true
            })?;
            if end == End::Stopped {
                let points: u64 = places.arrivals.values().sum();
                let mut line = format!("traced {points} {steps}");
                for address in &places.order {
                    let _ = write!(line, " {address:x}:{}", places.arrivals[address]);
                }
                return Ok(line);
            }
            (end, steps)
        }
        Order::Step { point, code } => victim.step(code, |_| {
            points += 1;
            points < *point
        })?,
        Order::Kill {
            address,
            occurrence,
        } => {
            let (end, arrivals) = victim.run_to(*address, *occurrence)?;
            points = arrivals;
            (end, 0)
        }
    };
    let word = match end {
        End::Killed => "killed",
        End::Stopped => "ended",
        End::Exited => "exited",
    };
    Ok(format!("{word} {points} {steps}"))
}

fn main() {
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { return };
        match Order::parse(&line).map(|(pid, order)| obey(pid, &order)) {
            None => println!("error not an order: {line}"),
            Some(Err(errno)) => println!("error {line}: {errno}"),
            Some(Ok(answer)) => println!("{answer}"),
        }
        if std::io::stdout().flush().is_err() {
            return;
        }
    }
}
