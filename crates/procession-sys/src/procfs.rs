//! /proc, read without any memory but the stack: a signal handler may ask, too.
//!
//! Everything here is async-signal-safe: `open`, `read`, `getdents64` and `close` on buffers of
//! the caller's stack, nothing allocated, nothing locked. `errno` is clobbered.

use crate::error::{SysError, SysResult};
use std::ffi::{CStr, c_char};

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

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, digit| {
        digit
            .is_ascii_digit()
            .then(|| sum.wrapping_mul(10) + u64::from(digit - b'0'))
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

/// A path of /proc, with its NUL.
struct Path {
    bytes: [u8; Self::LONGEST],
    length: usize,
}

impl Path {
    /// `/proc/4294967295/task/4294967295/children` and a NUL fit.
    const LONGEST: usize = 48;

    fn new() -> Self {
        Self {
            bytes: [0; Self::LONGEST],
            length: 0,
        }
    }

    fn of(pid: u32) -> Self {
        Self::new().then(b"/proc/").number(pid)
    }

    fn then(mut self, text: &[u8]) -> Self {
        let end = self.length + text.len();
        assert!(end < Self::LONGEST, "a path of /proc is too long");
        self.bytes[self.length..end].copy_from_slice(text);
        self.length = end;
        self
    }

    fn number(self, number: u32) -> Self {
        let mut digits = [0_u8; 10];
        let mut first = digits.len();
        let mut left = number;
        loop {
            first -= 1;
            digits[first] = b'0' + (left % 10) as u8;
            left /= 10;
            if left == 0 {
                return self.then(&digits[first..]);
            }
        }
    }

    fn as_ptr(&self) -> *const c_char {
        self.bytes.as_ptr().cast()
    }
}

/// An open file, closed at the end: std's own may panic in a handler, this cannot.
struct File(i32);

impl File {
    fn open(path: &Path, flags: i32) -> SysResult<Self> {
        // SAFETY: `then` keeps the last byte of the path NUL.
        let fd = unsafe { libc::open(path.as_ptr(), flags | libc::O_RDONLY | libc::O_CLOEXEC) };
        if fd >= 0 {
            Ok(Self(fd))
        } else {
            Err(SysError::last("open(/proc)"))
        }
    }

    /// The next bytes; 0 at the end.
    fn read(&self, into: &mut [u8]) -> SysResult<usize> {
        // SAFETY: `into` is ours to write for its length; the descriptor is open.
        let got = unsafe { libc::read(self.0, into.as_mut_ptr().cast(), into.len()) };
        usize::try_from(got).map_err(|_| SysError::last("read(/proc)"))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours and is not used again.
        unsafe { libc::close(self.0) };
    }
}

/// Directory entries as the kernel writes them.
#[repr(align(8))]
struct Entries([u8; 1024]);

impl Entries {
    /// The next entries of the open directory `fd`, in bytes; 0 at the end.
    fn fill(&mut self, fd: i32) -> SysResult<usize> {
        // SAFETY: the buffer is ours to write for its length; a bad number is refused.
        let got =
            unsafe { libc::syscall(libc::SYS_getdents64, fd, self.0.as_mut_ptr(), self.0.len()) };
        usize::try_from(got).map_err(|_| SysError::last("getdents64"))
    }
}

fn contents<'a>(path: &Path, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let got = File::open(path, 0).ok()?.read(buffer).ok()?;
    (got > 0).then(|| &buffer[..got])
}

/// Calls `f` with each number in a file of numbers; false when there is no such file.
fn each_number(path: &Path, f: &mut impl FnMut(u32)) -> bool {
    let Ok(file) = File::open(path, 0) else {
        return false;
    };
    let mut buffer = [0_u8; 512];
    let mut pending: Option<u32> = None; // a number may go on in the next bytes
    loop {
        let got = file.read(&mut buffer).unwrap_or(0); // the process has gone
        for byte in &buffer[..got] {
            if byte.is_ascii_digit() {
                let digit = u32::from(byte - b'0');
                pending = Some(pending.unwrap_or(0).wrapping_mul(10).wrapping_add(digit));
            } else if let Some(number) = pending.take() {
                f(number);
            }
        }
        if got == 0 {
            if let Some(number) = pending {
                f(number);
            }
            return true;
        }
    }
}

/// Calls `f` with each entry of a directory whose name is a number.
fn each_entry(path: &Path, f: &mut impl FnMut(u32)) -> SysResult<()> {
    let directory = File::open(path, libc::O_DIRECTORY)?;
    each_name(directory.0, &mut |name| {
        if let Some(found) = number(name.to_bytes()) {
            f(found as u32);
        }
    })
}

/// Calls `f` with each name in the open directory `fd`, from where it stands.
pub(crate) fn each_name(fd: i32, f: &mut impl FnMut(&CStr)) -> SysResult<()> {
    // u64 inode, i64 offset, u16 length of the entry, u8 type, then the name and a NUL.
    const LENGTH_AT: usize = 16;
    const NAME_AT: usize = 19;
    let mut entries = Entries([0; 1024]);
    loop {
        let got = entries.fill(fd)?;
        if got == 0 {
            return Ok(());
        }
        let mut left = &entries.0[..got];
        while left.len() > NAME_AT {
            let length = usize::from(u16::from_ne_bytes([left[LENGTH_AT], left[LENGTH_AT + 1]]));
            let (entry, rest) = left.split_at(length.clamp(NAME_AT, left.len()));
            if let Ok(name) = CStr::from_bytes_until_nul(&entry[NAME_AT..]) {
                f(name);
            }
            left = rest;
        }
    }
}

/// Calls `f` with the number of each of our own descriptors, and with one that is closed again.
pub(crate) fn each_descriptor(f: &mut impl FnMut(u32)) {
    let _ = each_entry(&Path::new().then(b"/proc/self/fd"), f);
}

// ---- memory ----------------------------------------------------------------------

/// A line of /proc/PID/maps.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mapping {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// `st_dev` and `st_ino` of its file; 0 when it has none.
    pub(crate) device: u64,
    pub(crate) inode: u64,
    /// What is written to it is written to its file.
    pub(crate) is_shared: bool,
    label: Label,
}

/// What the line has for a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Label {
    #[default]
    None,
    Stack,
    /// `[vdso]` and the like.
    Kernels,
    Other,
}

impl Mapping {
    pub(crate) fn contains(&self, address: usize) -> bool {
        self.start <= address && address < self.end
    }

    /// Whether it is plain memory, of no file and not the heap.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.inode == 0 && self.label == Label::None
    }

    /// Whether it is the main thread's stack.
    pub(crate) fn is_stack(&self) -> bool {
        self.label == Label::Stack
    }

    /// Whether it is the kernel's: `[vdso]` and the like.
    pub(crate) fn is_kernels(&self) -> bool {
        self.label == Label::Kernels
    }

    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line
            .split(|byte| *byte == b' ')
            .filter(|field| !field.is_empty());
        let (range, permissions, _offset) = (fields.next()?, fields.next()?, fields.next()?);
        let (start, end) = pair(range, b'-')?;
        let (major, minor) = pair(fields.next()?, b':')?;
        let inode = number(fields.next()?)?;
        let name = fields.next().unwrap_or_default();
        Some(Self {
            start: start as usize,
            end: end as usize,
            device: libc::makedev(major as u32, minor as u32),
            inode,
            is_shared: permissions.get(3) == Some(&b's'),
            label: match name {
                b"" => Label::None,
                b"[stack]" => Label::Stack,
                _ if name.starts_with(b"[v") => Label::Kernels,
                _ => Label::Other,
            },
        })
    }
}

fn pair(text: &[u8], between: u8) -> Option<(u64, u64)> {
    let middle = text.iter().position(|byte| *byte == between)?;
    Some((
        hexadecimal(&text[..middle])?,
        hexadecimal(&text[middle + 1..])?,
    ))
}

pub(crate) fn hexadecimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, digit| {
        let value = (*digit as char).to_digit(16)?;
        Some(sum << 4 | u64::from(value))
    })
}

/// Calls `f` with each of our own mappings, which it may remove.
pub(crate) fn each_mapping(f: &mut impl FnMut(Mapping)) {
    let _ = each_line(&Path::new().then(b"/proc/self/maps"), &mut |line| {
        if let Some(mapping) = Mapping::parse(line) {
            f(mapping);
        }
    });
}

/// Whether process `pid` maps a file; an error when we cannot know. Who has gone or ended, and the
/// kernel's own, map nothing.
pub(crate) fn maps(pid: u32, device: u64, inode: u64) -> SysResult<bool> {
    let mut found = false;
    let looked = each_line(&Path::of(pid).then(b"/maps"), &mut |line| {
        found |= Mapping::parse(line)
            .is_some_and(|mapping| (mapping.device, mapping.inode) == (device, inode));
    });
    match looked {
        Err(error) if !matches!(error.errno, libc::ENOENT | libc::ESRCH) => Err(error),
        _ => Ok(found),
    }
}

/// Whether anybody on this machine has locked a part of a file with this inode, or waits for it:
/// in other pid namespaces too, and whoever hides his mappings. The file system does not matter:
/// some tell `stat` of another device than this list.
pub(crate) fn is_locked(inode: u64) -> SysResult<bool> {
    let mut found = false;
    each_line(&Path::new().then(b"/proc/locks"), &mut |line| {
        found |= locked_inode(line) == Some(inode);
    })?;
    Ok(found)
}

/// The inode of a line of /proc/locks: `1: OFDLCK ADVISORY  WRITE -1 00:01:405889 30 30`.
fn locked_inode(line: &[u8]) -> Option<u64> {
    line.split(|byte| *byte == b' ').find_map(|field| {
        let mut parts = field.splitn(3, |byte| *byte == b':').skip(2);
        number(parts.next()?)
    })
}

/// Calls `f` with each process of this pid namespace, of those that /proc lets us see.
pub(crate) fn each_process(f: &mut impl FnMut(u32)) -> SysResult<()> {
    each_entry(&Path::new().then(b"/proc"), f)
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

/// Calls `f` with each line of a file. Of a line that is longer than the buffer only the
/// beginning is seen.
fn each_line(path: &Path, f: &mut impl FnMut(&[u8])) -> SysResult<()> {
    let file = File::open(path, 0)?;
    let mut buffer = [0_u8; 4096];
    let (mut filled, mut is_rest) = (0, false);
    loop {
        let got = file.read(&mut buffer[filled..])?;
        if got == 0 {
            return Ok(());
        }
        filled += got;
        let mut start = 0;
        while let Some(length) = buffer[start..filled].iter().position(|byte| *byte == b'\n') {
            if !is_rest {
                f(&buffer[start..start + length]);
            }
            is_rest = false;
            start += length + 1;
        }
        if start == 0 && filled == buffer.len() {
            if !is_rest {
                f(&buffer);
            }
            is_rest = true;
            start = filled;
        }
        buffer.copy_within(start..filled, 0);
        filled -= start;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::{AsFd, AsRawFd};
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
    fn mappings_are_parsed() {
        let file = Mapping::parse(b"7f00-7f10 r-xp 00047000 fe:01 5440 /a b (deleted)").unwrap();
        assert_eq!((file.start, file.end, file.inode), (0x7f00, 0x7f10, 5440));
        assert_eq!(file.device, libc::makedev(0xfe, 1));
        assert!(!file.is_anonymous() && !file.is_stack() && !file.is_shared);
        let arena = Mapping::parse(b"7f00-7f10 rw-s 00000000 00:01 5440 /memfd:a (deleted)");
        assert!(arena.unwrap().is_shared);
        let plain = Mapping::parse(b"7f00-7f10 rw-p 00000000 00:00 0 ").unwrap();
        assert!(plain.is_anonymous() && plain.contains(0x7f0f) && !plain.contains(0x7f10));
        let heap = Mapping::parse(b"7f00-7f10 rw-p 00000000 00:00 0   [heap]").unwrap();
        assert!(!heap.is_anonymous());
        assert!(Mapping::parse(b"7f00-7f10 rw-p 0000").is_none());
    }

    #[test]
    fn lines_are_read_to_the_end() {
        let mut whole = 0;
        let mut found = false;
        each_mapping(&mut |mapping| {
            whole += 1;
            found |= mapping.contains(&raw const whole as usize);
        });
        assert!(found && whole > 3);
        let path = Path::new().then(b"/proc/self/cmdline");
        each_line(&path, &mut |_| unreachable!("it has no newline")).unwrap();
        let path = Path::new().then(b"/proc/none");
        assert!(each_line(&path, &mut |_| unreachable!("it is not there")).is_err());
    }

    #[test]
    fn who_has_gone_maps_nothing_and_locks_are_seen() {
        assert_eq!(maps(u32::MAX, 1, 1), Ok(false));
        let held = b"1: OFDLCK ADVISORY  WRITE -1 00:01:405889 30 30";
        assert_eq!(locked_inode(held), Some(405_889));
        let awaited = b"3: -> POSIX  ADVISORY  READ  4711 fe:01:77 0 EOF";
        assert_eq!(locked_inode(awaited), Some(77));
        assert_eq!(
            locked_inode(b"1: OFDLCK ADVISORY  WRITE -1 <none>:0 0"),
            None
        );
        let file = crate::file::create_unnamed().unwrap();
        let inode = crate::file::identity(file.as_raw_fd()).unwrap().inode;
        assert_eq!(is_locked(inode), Ok(false));
        assert!(crate::ofd::try_lock(file.as_fd(), 5).unwrap());
        assert_eq!(is_locked(inode), Ok(true));
    }

    #[test]
    fn our_own_arguments_are_found() {
        let (start, end) = command_line().unwrap();
        assert!(start < end && end - start < 1 << 20);
    }

    #[test]
    fn the_longest_path_fits() {
        let path = Path::of(u32::MAX)
            .then(b"/task/")
            .number(u32::MAX)
            .then(b"/children");
        assert_eq!(
            &path.bytes[..path.length],
            b"/proc/4294967295/task/4294967295/children"
        );
    }
}
