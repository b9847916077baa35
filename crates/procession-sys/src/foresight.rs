//! Pages that the children of one process will write, copied for them in one go when they are born.
//!
//! ```text
//! the process      share(): an empty list, in memory that it shares with its children
//! its first child  note(): which pages it has had to copy, or map, by now
//! later children   in fork() itself, in the child: the kernel is asked for these, a call a range
//! ```
//!
//! A forked interpreter writes to hundreds of pages before it does anything of its program's, for
//! it counts references; each is a fault that copies a page. Their addresses are the same in every
//! child of one process.
//!
//! Only one child writes the list, and nobody reads it before it is whole: a child that is killed
//! while it writes leaves a list that is never used. A kernel before 5.14 does not know the call,
//! and children then fault as ever. What is not mapped any more at an address is not missed.
//!
//! Of a file the kernel maps the pages around the one that is asked for, and asking for each costs
//! more than the faults: so a single page stands for those around it.

use crate::error::{SysError, SysResult};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::ptr;
use std::sync::atomic::{
    AtomicPtr, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

/// Ranges in the list.
const RANGES: usize = 1022;
/// Pages of a file that the kernel maps at a fault in one of them: aligned, its default since Linux 3.15.
const AROUND: u64 = 16;
/// A program that has written more than this by then would have its memory doubled: no list.
const PAGES: u64 = 2048;

const EMPTY: u32 = 0;
const WRITING: u32 = 1;
const WHOLE: u32 = 2;

/// In a range's first word, which is the address of a page: it is written, not only read.
const WRITTEN: u64 = 1;

/// What /proc/self/pagemap says of a page.
const PRESENT: u64 = 1 << 63;
const EXCLUSIVE: u64 = 1 << 56;

#[repr(C)]
struct List {
    state: AtomicU32,
    count: AtomicU32,
    /// Whose children it is for.
    parent: AtomicU32,
    ranges: [(AtomicU64, AtomicU64); RANGES],
}

static LIST: AtomicPtr<List> = AtomicPtr::new(ptr::null_mut());

fn list() -> Option<&'static List> {
    // SAFETY: null, or what `share` has mapped, which is as large and aligned as a List, was zero,
    // and is never unmapped; all of its words are atomic.
    unsafe { LIST.load(Acquire).as_ref() }
}

/// This process's children tell each other from now on what they write first.
pub fn share() -> SysResult<()> {
    // SAFETY: a new mapping, wherever the kernel likes.
    let start = unsafe {
        libc::mmap(
            ptr::null_mut(),
            size_of::<List>(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return Err(SysError::last("mmap"));
    }
    let is_first = list().is_none();
    // Release pairs with the Acquire in `list`: whoever sees the address sees what is mapped there.
    LIST.store(start.cast(), Release);
    if let Some(list) = list() {
        list.parent.store(std::process::id(), Relaxed);
    }
    if is_first {
        // SAFETY: the handler is a function of this library, which is never unloaded.
        unsafe { libc::pthread_atfork(None, None, Some(fetch)) };
    }
    Ok(())
}

/// In each forked child, before anything else there: only system calls and atomics.
extern "C" fn fetch() {
    let Some(list) = list().filter(|list| is_for_me(list)) else {
        return;
    };
    // Acquire pairs with the Release in `note`: the ranges are all there.
    if list.state.load(Acquire) != WHOLE {
        return;
    }
    let count = list.count.load(Relaxed) as usize;
    for (start, length) in list.ranges.iter().take(count) {
        let (start, length) = (start.load(Relaxed), length.load(Relaxed));
        let advice = if start & WRITTEN == 0 {
            libc::MADV_POPULATE_READ
        } else {
            libc::MADV_POPULATE_WRITE
        };
        let start = ptr::without_provenance_mut((start & !WRITTEN) as usize);
        // SAFETY: whatever is mapped there, no content changes; pages are only made present.
        unsafe { libc::madvise(start, length as usize, advice) };
    }
}

fn is_for_me(list: &List) -> bool {
    // SAFETY: getppid has no preconditions.
    let parent = unsafe { libc::getppid() };
    list.parent.load(Relaxed) == parent as u32
}

/// The first child to say so: later ones are given what this one has written and mapped by now.
pub fn note() -> SysResult<()> {
    let Some(list) = list().filter(|list| is_for_me(list)) else {
        return Ok(());
    };
    if list
        .state
        .compare_exchange(EMPTY, WRITING, Relaxed, Relaxed)
        .is_err()
    {
        return Ok(());
    }
    let found = found()?;
    let written = found.iter().filter(|range| range.is_written);
    if written.map(|range| range.pages).sum::<u64>() > PAGES {
        return Ok(());
    }
    let page = page_size();
    for ((start, length), range) in list.ranges.iter().zip(&found) {
        start.store(
            range.start | if range.is_written { WRITTEN } else { 0 },
            Relaxed,
        );
        length.store(range.pages * page, Relaxed);
    }
    list.count.store(found.len().min(RANGES) as u32, Relaxed);
    // Release pairs with the Acquire in `fetch`.
    list.state.store(WHOLE, Release);
    Ok(())
}

struct Range {
    start: u64,
    pages: u64,
    is_written: bool,
}

/// The pages that are this process's alone, and those of files that it has mapped.
fn found() -> SysResult<Vec<Range>> {
    let failed = |call| move |_: std::io::Error| SysError::last(call);
    let maps = File::open("/proc/self/maps").map_err(failed("open(/proc/self/maps)"))?;
    let pagemap = File::open("/proc/self/pagemap").map_err(failed("open(/proc/self/pagemap)"))?;
    let page = page_size();
    let mut ranges: Vec<Range> = Vec::new();
    for line in BufReader::new(maps).lines() {
        let line = line.map_err(failed("read(/proc/self/maps)"))?;
        let Some((start, end, is_written)) = private(&line) else {
            continue;
        };
        let wanted = if is_written {
            PRESENT | EXCLUSIVE
        } else {
            PRESENT
        };
        let mut words = vec![0; ((end - start) / page * 8) as usize];
        if pagemap.read_exact_at(&mut words, start / page * 8).is_err() {
            continue; // the kernel's own pages
        }
        for (at, word) in (start..end)
            .step_by(page as usize)
            .zip(words.chunks_exact(8))
        {
            if u64::from_ne_bytes(word.try_into().unwrap_or_default()) & wanted != wanted {
                continue;
            }
            match ranges.last_mut() {
                Some(last)
                    if is_written && last.is_written && last.start + last.pages * page == at =>
                {
                    last.pages += 1;
                }
                Some(last)
                    if !is_written && last.start / (AROUND * page) == at / (AROUND * page) => {}
                _ => ranges.push(Range {
                    start: at,
                    pages: 1,
                    is_written,
                }),
            }
        }
    }
    Ok(ranges)
}

/// Start, end, and whether it can be written, of a private mapping that can be read: `START-END rwxp ...`.
fn private(line: &str) -> Option<(u64, u64, bool)> {
    const LARGEST: u64 = 1 << 30; // nothing of the kind is an interpreter's
    let (span, rest) = line.split_once(' ')?;
    let access = rest.as_bytes().get(..4)?;
    if access[0] != b'r' || access[3] != b'p' || rest.ends_with("[stack]") {
        return None; // the stack's end moves
    }
    let (start, end) = span.split_once('-')?;
    let address = |text| u64::from_str_radix(text, 16).ok();
    let (start, end) = (address(start)?, address(end)?);
    (end - start <= LARGEST).then_some((start, end, access[1] == b'w'))
}

fn page_size() -> u64 {
    // SAFETY: sysconf has no preconditions.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_exclusive(page: &[u8]) -> bool {
        let mut word = [0; 8];
        let pagemap = File::open("/proc/self/pagemap").unwrap();
        let at = page.as_ptr() as u64 / page_size() * 8;
        pagemap.read_exact_at(&mut word, at).unwrap();
        u64::from_ne_bytes(word) & EXCLUSIVE != 0
    }

    /// Exit code of a forked child; the harness has other threads, so it must keep to what is safe there.
    fn in_a_child(body: impl FnOnce() -> bool) -> bool {
        // SAFETY: the child uses the allocator, which glibc makes usable after fork, and files.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let good = body();
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(i32::from(!good)) };
        }
        let mut status = 0;
        // SAFETY: `status` is a live int that the call fills.
        unsafe { libc::waitpid(pid, &raw mut status, 0) };
        status == 0
    }

    /// A page that is to be read although another is that brings it along.
    fn windows_of_files() -> Option<u64> {
        let list = list().unwrap();
        let count = list.count.load(Relaxed) as usize;
        let mut seen = std::collections::HashSet::new();
        let read = list.ranges[..count]
            .iter()
            .map(|(start, _)| start.load(Relaxed));
        read.filter(|start| start & WRITTEN == 0)
            .find(|start| !seen.insert(start / (AROUND * page_size())))
    }

    #[test]
    fn later_children_have_what_the_first_has_written() {
        let size = page_size() as usize;
        let mut memory = vec![1_u8; 9 * size];
        let first = memory.as_ptr().align_offset(size);
        let (written, other) = (first + 2 * size, first + 6 * size);
        // A list that its writer, who was killed, has left unfinished is nobody's.
        share().unwrap();
        list().unwrap().state.store(WRITING, Relaxed);
        assert!(in_a_child(
            || note().is_ok() && !is_exclusive(&memory[written..])
        ));
        share().unwrap();
        assert!(in_a_child(|| !is_exclusive(&memory[written..])));
        assert!(in_a_child(|| {
            memory[written] = 2;
            note().is_ok()
        }));
        assert_eq!(list().unwrap().state.load(Acquire), WHOLE);
        assert_eq!(windows_of_files(), None);
        assert!(in_a_child(
            || is_exclusive(&memory[written..]) && !is_exclusive(&memory[other..])
        ));
        // Not for whom a child forks.
        assert!(in_a_child(|| in_a_child(|| note().is_ok())));
        assert_eq!(memory[written], 1);
    }
}
