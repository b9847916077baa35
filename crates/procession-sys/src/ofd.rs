//! The liveness lock: one byte of the arena's file under an open-file-description lock.
//!
//! Unlike POSIX record locks these belong to the open file, not to the process: a mapping of
//! that open file keeps them after every descriptor is closed, and they end with the last of
//! both (fcntl(2), "Open file description locks").

use crate::error::{SysError, SysResult};
use std::os::fd::{AsRawFd, BorrowedFd};

fn request(byte: u64) -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: byte as i64,
        l_len: 1,
        l_pid: 0,
    }
}

/// Tries to lock `byte` for the open file behind `fd`; false when another open file has it.
pub fn try_lock(fd: BorrowedFd<'_>, byte: u64) -> SysResult<bool> {
    let lock = request(byte);
    // SAFETY: `lock` is a live flock that the call only reads; `fd` is open (borrowed).
    let rc = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    if rc == 0 {
        return Ok(true);
    }
    let error = SysError::last("fcntl(F_OFD_SETLK)");
    match error.errno {
        libc::EAGAIN | libc::EACCES => Ok(false),
        _ => Err(error),
    }
}

/// Whether any other open file holds `byte`. One that shares it for a moment, having waited for
/// its end ([`wait_until_free`]), does not hold it.
pub fn is_locked(fd: BorrowedFd<'_>, byte: u64) -> SysResult<bool> {
    let mut lock = request(byte);
    lock.l_type = libc::F_RDLCK as i16;
    // SAFETY: `lock` is a live flock that the call reads and fills; `fd` is open (borrowed).
    let rc = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) };
    if rc != 0 {
        return Err(SysError::last("fcntl(F_OFD_GETLK)"));
    }
    Ok(lock.l_type != libc::F_UNLCK as i16)
}

/// Gives `byte` back.
pub fn unlock(fd: BorrowedFd<'_>, byte: u64) -> SysResult<()> {
    let mut lock = request(byte);
    lock.l_type = libc::F_UNLCK as i16;
    // SAFETY: `lock` is a live flock that the call only reads; `fd` is open (borrowed).
    let rc = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    if rc == 0 {
        Ok(())
    } else {
        Err(SysError::last("fcntl(F_OFD_SETLK)"))
    }
}

/// Waits until no other open file holds `byte`: in the kernel, for as long as it takes.
pub fn wait_until_free(fd: BorrowedFd<'_>, byte: u64) -> SysResult<()> {
    let mut lock = request(byte);
    lock.l_type = libc::F_RDLCK as i16;
    // SAFETY: `lock` is a live flock that the call only reads; `fd` is open (borrowed).
    let rc = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_OFD_SETLKW, &raw const lock) };
    if rc == 0 {
        unlock(fd, byte)
    } else {
        Err(SysError::last("fcntl(F_OFD_SETLKW)"))
    }
}
