//! Reading /proc: paths, numbers, names and lines, on the stack alone.

use crate::error::{SysError, SysResult};
use std::ffi::{CStr, c_char};

/// A path of /proc, with its NUL.
pub(super) struct Path {
    bytes: [u8; Self::LONGEST],
    length: usize,
}

impl Path {
    /// `/proc/4294967295/task/4294967295/children` and a NUL fit.
    const LONGEST: usize = 48;

    pub(super) fn new() -> Self {
        Self {
            bytes: [0; Self::LONGEST],
            length: 0,
        }
    }

    pub(super) fn of(pid: u32) -> Self {
        Self::new().then(b"/proc/").number(pid)
    }

    pub(super) fn then(mut self, text: &[u8]) -> Self {
        let end = self.length + text.len();
        assert!(end < Self::LONGEST, "a path of /proc is too long");
        self.bytes[self.length..end].copy_from_slice(text);
        self.length = end;
        self
    }

    pub(super) fn number(self, number: u32) -> Self {
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

pub(super) fn contents<'a>(path: &Path, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let got = File::open(path, 0).ok()?.read(buffer).ok()?;
    (got > 0).then(|| &buffer[..got])
}

pub(super) fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, digit| {
        digit
            .is_ascii_digit()
            .then(|| sum.wrapping_mul(10) + u64::from(digit - b'0'))
    })
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

pub(super) fn pair(text: &[u8], between: u8) -> Option<(u64, u64)> {
    let middle = text.iter().position(|byte| *byte == between)?;
    Some((
        hexadecimal(&text[..middle])?,
        hexadecimal(&text[middle + 1..])?,
    ))
}

/// Calls `f` with each number in a file of numbers; false when there is no such file.
pub(super) fn each_number(path: &Path, f: &mut impl FnMut(u32)) -> bool {
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
pub(super) fn each_entry(path: &Path, f: &mut impl FnMut(u32)) -> SysResult<()> {
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

/// Calls `f` with each line of a file. Of a line that is longer than the buffer only the
/// beginning is seen.
pub(super) fn each_line(path: &Path, f: &mut impl FnMut(&[u8])) -> SysResult<()> {
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

    #[test]
    fn lines_are_read_to_the_end() {
        let path = Path::new().then(b"/proc/self/cmdline");
        each_line(&path, &mut |_| unreachable!("it has no newline")).unwrap();
        let path = Path::new().then(b"/proc/none");
        assert!(each_line(&path, &mut |_| unreachable!("it is not there")).is_err());
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
