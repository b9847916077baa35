//! /proc, read without any memory but the stack: a signal handler may ask, too.
//!
//! Everything here is async-signal-safe: `open`, `read`, `getdents64` and `close` on buffers of
//! the caller's stack, nothing allocated, nothing locked. `errno` is clobbered.

mod locks;
mod maps;
mod reading;

use crate::error::SysResult;
use reading::{Path, contents, each_entry, each_number, number};

pub(crate) use locks::is_locked;
pub(crate) use maps::{each_mapping, maps};
pub(crate) use reading::{each_name, hexadecimal};

/// A clock tick as /proc counts them: `USER_HZ` is 100 on every architecture of ours.
pub const TICK_NS: u64 = 10_000_000;

/// What /proc/PID/stat says of a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status {
    /// Pid of its parent; 0 when that is in another pid namespace.
    pub parent: u32,
    /// Start in clock ticks since boot: with the pid it names one process.
    pub started: u64,
    /// Nothing of it runs any more; it waits to be collected.
    pub has_ended: bool,
}

/// What is known of process `pid`; None when there is none, or /proc does not say.
#[must_use]
pub fn status(pid: u32) -> Option<Status> {
    let mut buffer = [0_u8; 640]; // 22 numbers of 20 digits, a name of 64 bytes, and blanks
    parse_status(contents(&Path::of(pid).then(b"/stat"), &mut buffer)?)
}

fn parse_status(text: &[u8]) -> Option<Status> {
    const PARENT: usize = 1; // counted from the state, the first field after the name
    const THREADS: usize = 17;
    const STARTED: usize = 19;
    // The name in parentheses may hold anything: count from its end.
    let name_end = text.windows(2).rposition(|pair| pair == b") ")?;
    let after_name = &text[name_end + 2..];
    let field = |index: usize| {
        let digits = after_name.split(|byte| *byte == b' ').nth(index)?;
        number(digits)
    };
    // A main thread that has ended leaves a zombie while others still run.
    let is_zombie = matches!(after_name.first(), Some(b'Z' | b'X' | b'x'));
    Some(Status {
        parent: field(PARENT)? as u32,
        started: field(STARTED)?,
        has_ended: is_zombie && field(THREADS)? <= 1,
    })
}

/// Calls `f` with the pid of every child of `pid`, zombies too.
///
/// A child whose elder sibling is collected at this very moment may be missed: look again.
pub fn each_child(pid: u32, f: &mut impl FnMut(u32)) {
    let mut are_listed = false;
    each_thread(pid, &mut |thread| {
        let children = Path::of(pid)
            .then(b"/task/")
            .number(thread)
            .then(b"/children");
        are_listed |= each_number(&children, f);
    });
    if !are_listed {
        each_child_by_parent(pid, f);
    }
}

/// For kernels without lists of children: whoever says that `pid` is its parent.
fn each_child_by_parent(pid: u32, f: &mut impl FnMut(u32)) {
    let _ = each_process(&mut |other| {
        if status(other).is_some_and(|status| status.parent == pid) {
            f(other);
        }
    });
}

/// Calls `f` with the number of every thread of process `pid`.
pub fn each_thread(pid: u32, f: &mut impl FnMut(u32)) {
    let _ = each_entry(&Path::of(pid).then(b"/task"), f);
}

/// Whether `pid` is a resource tracker of the standard library's. Who ends its users leaves it
/// to itself: it removes what they had in /dev/shm, then ends.
#[must_use]
pub fn is_resource_tracker(pid: u32) -> bool {
    command_contains(pid, b"multiprocessing.resource_tracker")
}

/// Whether the first bytes of a command line contain `text`.
fn command_contains(pid: u32, text: &[u8]) -> bool {
    let mut buffer = [0_u8; 1024];
    contents(&Path::of(pid).then(b"/cmdline"), &mut buffer)
        .is_some_and(|command| command.windows(text.len()).any(|part| part == text))
}

/// Calls `f` with each process of this pid namespace, of those that /proc lets us see.
pub(crate) fn each_process(f: &mut impl FnMut(u32)) -> SysResult<()> {
    each_entry(&Path::new().then(b"/proc"), f)
}

/// Calls `f` with the number of each of our own descriptors, and with one that is closed again.
pub(crate) fn each_descriptor(f: &mut impl FnMut(u32)) {
    let _ = each_entry(&Path::new().then(b"/proc/self/fd"), f);
}

/// Where our arguments lie in memory: start and end.
pub(crate) fn command_line() -> Option<(usize, usize)> {
    const START: usize = 45; // counted from the state, as in `parse_status`
    let mut buffer = [0_u8; 1536]; // 52 numbers of 20 digits, a name, and blanks
    let text = contents(&Path::new().then(b"/proc/self/stat"), &mut buffer)?;
    let name_end = text.windows(2).rposition(|pair| pair == b") ")?;
    let mut fields = text[name_end + 2..].split(|byte| *byte == b' ').skip(START);
    let start = number(fields.next()?)? as usize;
    let end = number(fields.next()?)? as usize;
    (start < end).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    fn child() -> Child {
        let mut command = Command::new("cat");
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        command.spawn().unwrap()
    }

    fn children() -> Vec<u32> {
        let mut found = Vec::new();
        each_child(std::process::id(), &mut |pid| found.push(pid));
        found
    }

    #[test]
    fn a_name_with_parentheses_and_blanks_is_skipped() {
        let text = b"12 (a) R (b) S 7 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4242 1\n";
        let expected = Status {
            parent: 7,
            started: 4242,
            has_ended: false,
        };
        assert_eq!(parse_status(text), Some(expected));
    }

    #[test]
    fn a_zombie_has_ended_unless_threads_of_it_run() {
        let alone = b"12 (a) Z 7 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4242 1\n";
        let busy = b"12 (a) Z 7 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 3 0 4242 1\n";
        assert!(parse_status(alone).unwrap().has_ended);
        assert!(!parse_status(busy).unwrap().has_ended);
    }

    #[test]
    fn torn_texts_are_none() {
        let text = b"12 (a) S 7 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 42\n";
        for end in 0..text.len() - 3 {
            assert_eq!(parse_status(&text[..end]), None, "{end}");
        }
    }

    #[test]
    fn children_are_found_both_ways() {
        let mut cat = child();
        assert!(children().contains(&cat.id()));
        let mut found = Vec::new();
        each_child_by_parent(std::process::id(), &mut |pid| found.push(pid));
        assert!(found.contains(&cat.id()));
        let status = status(cat.id()).unwrap();
        assert_eq!(
            (status.parent, status.has_ended),
            (std::process::id(), false)
        );
        drop(cat.stdin.take());
        cat.wait().unwrap();
        assert!(!children().contains(&cat.id()));
    }

    #[test]
    fn more_children_than_fit_into_a_buffer() {
        let mut cats: Vec<Child> = (0..120).map(|_| child()).collect();
        let found = children();
        assert!(cats.iter().all(|cat| found.contains(&cat.id())));
        for cat in &mut cats {
            drop(cat.stdin.take());
            cat.wait().unwrap();
        }
    }

    #[test]
    fn a_command_is_known_by_a_part_of_it() {
        let me = std::process::id();
        assert!(command_contains(me, b"procession"));
        assert!(!command_contains(me, b"certainly not in any command"));
    }

    #[test]
    fn our_own_arguments_are_found() {
        let (start, end) = command_line().unwrap();
        assert!(start < end && end - start < 1 << 20);
    }
}
