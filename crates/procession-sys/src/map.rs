//! Mappings that live as long as the process: the arena's windows, the pin, the wiped page.

use crate::error::{SysError, SysResult};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

/// The machine's page size in bytes.
#[must_use]
pub fn page_size() -> usize {
    // SAFETY: sysconf has no preconditions.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

fn map(length: usize, protection: i32, flags: i32, fd: i32, offset: u64) -> SysResult<NonNull<u8>> {
    // SAFETY: a null hint lets the kernel choose free addresses, so no mapping of ours is
    // replaced; bad arguments are refused by the kernel.
    let at = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            length,
            protection,
            flags,
            fd,
            offset as i64,
        )
    };
    if at == libc::MAP_FAILED {
        return Err(SysError::last("mmap"));
    }
    NonNull::new(at.cast()).ok_or(SysError {
        call: "mmap",
        errno: libc::EINVAL,
    })
}

fn advise(at: NonNull<u8>, length: usize, advice: i32, call: &'static str) -> SysResult<()> {
    // SAFETY: only called with DONTFORK, WIPEONFORK or DONTDUMP on a mapping made just above:
    // none of them changes the bytes that this process sees.
    let rc = unsafe { libc::madvise(at.as_ptr().cast(), length, advice) };
    if rc == 0 {
        Ok(())
    } else {
        Err(SysError::last(call))
    }
}

/// Maps `length` bytes of the file from `offset` on, shared, for the life of the process.
/// Core dumps leave it out.
pub fn shared(fd: BorrowedFd<'_>, offset: u64, length: usize) -> SysResult<NonNull<u8>> {
    let at = map(
        length,
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_SHARED | libc::MAP_NORESERVE,
        fd.as_raw_fd(),
        offset,
    )?;
    // A kernel without it dumps more, nothing else.
    let _ = advise(at, length, libc::MADV_DONTDUMP, "madvise(MADV_DONTDUMP)");
    Ok(at)
}

/// Pins the open file behind `fd`, and with it its OFD locks, to this process's memory map:
/// the pin ends with the process or its exec, and children by fork do not inherit it.
pub fn pin(fd: BorrowedFd<'_>) -> SysResult<()> {
    let length = page_size();
    let at = map(length, libc::PROT_NONE, libc::MAP_SHARED, fd.as_raw_fd(), 0)?;
    let advised = advise(at, length, libc::MADV_DONTFORK, "madvise(MADV_DONTFORK)");
    if advised.is_err() {
        // SAFETY: the page was mapped above and nobody else knows its address.
        unsafe { libc::munmap(at.as_ptr().cast(), length) };
    }
    advised
}

/// Pages of a file that this process writes in for itself: what it has not written is the file's.
/// Unmapped when it is dropped; a child by fork has a copy.
#[derive(Debug)]
pub struct PrivatePages {
    at: NonNull<u8>,
    length: usize,
}

// SAFETY: an address range that only this value unmaps; its bytes are plain memory of this process.
unsafe impl Send for PrivatePages {}
// SAFETY: as above.
unsafe impl Sync for PrivatePages {}

impl PrivatePages {
    /// Maps `length` bytes of the file from `offset` on, a page's beginning.
    pub fn map(fd: BorrowedFd<'_>, offset: u64, length: usize) -> SysResult<Self> {
        let at = map(
            length,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_NORESERVE,
            fd.as_raw_fd(),
            offset,
        )?;
        Ok(Self { at, length })
    }

    /// Where they begin.
    #[must_use]
    pub fn start(&self) -> NonNull<u8> {
        self.at
    }
}

impl Drop for PrivatePages {
    fn drop(&mut self) {
        // SAFETY: mapped by `map`, and unmapped nowhere else: whoever uses them borrows from `self`.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.length) };
    }
}

/// One private page that a child made by fork or clone finds zeroed.
pub fn wiped_on_fork() -> SysResult<NonNull<u8>> {
    let length = page_size();
    let at = map(
        length,
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        -1,
        0,
    )?;
    advise(
        at,
        length,
        libc::MADV_WIPEONFORK,
        "madvise(MADV_WIPEONFORK)",
    )?;
    Ok(at)
}
