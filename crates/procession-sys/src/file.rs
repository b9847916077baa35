//! The memory file behind an arena: made without a name, grown before use, recognised again.

use crate::error::{SysError, SysResult};
use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

/// Device and inode: which file a descriptor means, whatever its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileIdentity {
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
}

const NOEXEC_SEAL: u32 = 8; // MFD_NOEXEC_SEAL, Linux 6.3

fn memfd(flags: u32) -> SysResult<OwnedFd> {
    // SAFETY: the name is a NUL-terminated literal; flags are plain bits.
    let fd = unsafe { libc::memfd_create(c"procession".as_ptr(), flags) };
    if fd < 0 {
        return Err(SysError::last("memfd_create"));
    }
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn unnamed_in(directory: &std::path::Path) -> SysResult<OwnedFd> {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_TMPFILE | libc::O_CLOEXEC)
        .open(directory);
    match file {
        Ok(file) => Ok(file.into()),
        Err(error) => Err(SysError {
            call: "open(O_TMPFILE)",
            errno: error.raw_os_error().unwrap_or(libc::EIO),
        }),
    }
}

/// Makes an empty file without a name: a memfd, else an unlinked file in /dev/shm, else in
/// the temporary folder. The error is the first one, which users can do most about.
pub fn create_unnamed() -> SysResult<OwnedFd> {
    memfd(libc::MFD_CLOEXEC | NOEXEC_SEAL)
        .or_else(|_| memfd(libc::MFD_CLOEXEC))
        .or_else(|refused| {
            unnamed_in("/dev/shm".as_ref())
                .or_else(|_| unnamed_in(&std::env::temp_dir()))
                .map_err(|_| SysError {
                    call: "memfd_create (nor open(O_TMPFILE) in /dev/shm or TMPDIR)",
                    ..refused
                })
        })
}

/// A pipe: its end to read from, and the one to write to.
pub(crate) fn pipe() -> SysResult<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    // SAFETY: the kernel writes two numbers, which are live.
    let rc = unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) };
    if rc != 0 {
        return Err(SysError::last("pipe2"));
    }
    // SAFETY: the kernel just gave us these descriptors; nobody else owns them.
    let [reader, writer] = ends.map(|end| unsafe { OwnedFd::from_raw_fd(end) });
    Ok((reader, writer))
}

/// A second descriptor of the same open file, at or above `lowest` where the limit on descriptors lets
/// it be: out of the way of programs that count or reuse low numbers.
pub fn duplicate_above(fd: BorrowedFd<'_>, lowest: i32) -> SysResult<OwnedFd> {
    let duplicate = |lowest: i32| {
        // SAFETY: F_DUPFD_CLOEXEC takes a plain number; `fd` is open (borrowed).
        unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest) }
    };
    let mut copy = duplicate(lowest);
    if copy < 0 {
        copy = duplicate(3); // above the standard streams
    }
    if copy < 0 {
        return Err(SysError::last("fcntl(F_DUPFD_CLOEXEC)"));
    }
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Sets the file's length. Check [`crate::limits::file_size`] first: over the limit the
/// kernel sends SIGXFSZ.
pub fn set_length(fd: BorrowedFd<'_>, length: u64) -> SysResult<()> {
    // SAFETY: plain numbers; `fd` is open (borrowed).
    let rc = unsafe { libc::ftruncate(fd.as_raw_fd(), length as i64) };
    if rc == 0 {
        Ok(())
    } else {
        Err(SysError::last("ftruncate"))
    }
}

/// The file's length in bytes.
pub fn length(fd: BorrowedFd<'_>) -> SysResult<u64> {
    Ok(stat(fd.as_raw_fd())?.st_size as u64)
}

/// Reads the bytes of the file at `offset`; false when there are fewer. Async-signal-safe.
pub fn read_at(fd: BorrowedFd<'_>, into: &mut [u8], offset: u64) -> SysResult<bool> {
    let (at, offset) = (into.as_mut_ptr(), offset as i64);
    // SAFETY: the buffer is live and as long as it says.
    let count = unsafe { libc::pread(fd.as_raw_fd(), at.cast(), into.len(), offset) };
    if count < 0 {
        return Err(SysError::last("pread"));
    }
    Ok(count as usize == into.len())
}

/// Gives the range real pages now, so that touching it later cannot fail.
pub fn reserve(fd: BorrowedFd<'_>, offset: u64, length: u64) -> SysResult<()> {
    loop {
        // SAFETY: plain numbers; `fd` is open (borrowed).
        let rc = unsafe { libc::fallocate(fd.as_raw_fd(), 0, offset as i64, length as i64) };
        if rc == 0 {
            return Ok(());
        }
        let error = SysError::last("fallocate");
        if error.errno != libc::EINTR {
            return Err(error);
        }
    }
}

/// Gives the range's pages back to the kernel; it reads as zeros afterwards.
pub fn punch(fd: BorrowedFd<'_>, offset: u64, length: u64) -> SysResult<()> {
    // SAFETY: plain numbers; `fd` is open (borrowed). The caller owns the range's content.
    let rc = unsafe {
        libc::fallocate(
            fd.as_raw_fd(),
            libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
            offset as i64,
            length as i64,
        )
    };
    if rc == 0 {
        Ok(())
    } else {
        Err(SysError::last("fallocate(FALLOC_FL_PUNCH_HOLE)"))
    }
}

fn stat(fd: i32) -> SysResult<libc::stat> {
    let mut found = std::mem::MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: `found` is writable memory of the right size; a bad number is refused.
    let rc = unsafe { libc::fstat(fd, found.as_mut_ptr()) };
    if rc != 0 {
        return Err(SysError::last("fstat"));
    }
    // SAFETY: zeroed bytes are a valid stat, and fstat filled it.
    Ok(unsafe { found.assume_init() })
}

/// `st_mode`: what kind of file a descriptor number means.
pub(crate) fn mode(fd: i32) -> SysResult<u32> {
    Ok(stat(fd)?.st_mode)
}

/// Which file a descriptor *number* means at this moment; an error when it is closed.
pub fn identity(fd: i32) -> SysResult<FileIdentity> {
    let found = stat(fd)?;
    Ok(FileIdentity {
        device: found.st_dev,
        inode: found.st_ino,
    })
}

/// Bytes that the file really occupies.
pub fn occupied(fd: BorrowedFd<'_>) -> SysResult<u64> {
    Ok(stat(fd.as_raw_fd())?.st_blocks as u64 * 512)
}

/// Opens process `pid`'s descriptor `fd` anew, as an open file of our own; `None` is ourselves.
pub fn reopen(pid: Option<u32>, fd: i32) -> SysResult<OwnedFd> {
    let path = match pid {
        None => format!("/proc/self/fd/{fd}"),
        Some(pid) => format!("/proc/{pid}/fd/{fd}"),
    };
    open_path(&path)
}

/// Opens a file behind a path of /proc, close-on-exec.
pub fn open_path(path: &str) -> SysResult<OwnedFd> {
    const CALL: &str = "open(/proc/PID/fd/N)";
    let c_path = CString::new(path).map_err(|_| SysError {
        call: CALL,
        errno: libc::EINVAL,
    })?;
    // SAFETY: a NUL-terminated path that lives through the call.
    let fd = unsafe { libc::open(c_path.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
    if fd < 0 {
        return Err(SysError::last(CALL));
    }
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes over a descriptor that this process was started with, or was sent, and that nobody
/// else here knows of; None when it is not the file `expected`.
pub fn take(fd: i32, expected: FileIdentity) -> Option<OwnedFd> {
    // SAFETY: the number means an open file, and the caller says that it is ours to own.
    (identity(fd) == Ok(expected)).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Closes a descriptor that some other code may have closed or reused already: only if it
/// still means the file `expected`.
pub fn close_if(fd: i32, expected: FileIdentity) {
    if identity(fd) == Ok(expected) {
        // SAFETY: the number still means our file, so this closes a descriptor of ours.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
    }
}

/// A borrowed view of a descriptor number that was just verified with [`identity`].
///
/// The number may be closed by the program at any time; a call on it then fails with EBADF
/// or meets another file, which the caller finds out by verifying again afterwards.
pub fn borrow<R>(fd: i32, f: impl FnOnce(BorrowedFd<'_>) -> R) -> R {
    // SAFETY: `fd` is not -1 (descriptors of open files are not negative); the borrow ends
    // with this call and no wrapped call here dereferences memory through it.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    f(borrowed)
}

/// Sixteen random bytes.
pub fn random_nonce() -> SysResult<[u8; 16]> {
    let mut nonce = [0_u8; 16];
    // SAFETY: the buffer is writable and as long as said.
    let rc = unsafe { libc::getrandom(nonce.as_mut_ptr().cast(), nonce.len(), 0) };
    if rc == 16 {
        Ok(nonce)
    } else {
        Err(SysError::last("getrandom"))
    }
}
