//! The arena's descriptor, which programs close and whose number they reuse: verified, and found again when it is lost.

use super::{Arena, LOWEST_FD};
use crate::error::{ArenaError, libc_errno};
use procession_sys::SysError;
use procession_sys::file;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

impl Arena {
    /// Runs `f` with the arena's descriptor, which is verified first: programs close
    /// descriptors that are not theirs and reuse the numbers.
    pub fn with_fd<R>(&self, f: impl FnOnce(BorrowedFd<'_>) -> R) -> Result<R, ArenaError> {
        let fd = self.fd.load(Acquire);
        if file::identity(fd) == Ok(self.identity) {
            return Ok(file::borrow(fd, f));
        }
        let found = self.find_descriptor()?;
        let fd = found.into_raw_fd();
        self.fd.store(fd, Release);
        Ok(file::borrow(fd, f))
    }

    /// Whether a descriptor still means our file: asked again after an answer that would be
    /// believed to somebody's death. Another thread may have found us a new one meanwhile, so
    /// the question is about the number that was used.
    pub(crate) fn is_ours(&self, number: i32) -> bool {
        file::identity(number) == Ok(self.identity)
    }

    /// The descriptor's number, as it was when it was last known to be ours.
    pub(crate) fn fd_number(&self) -> i32 {
        self.fd.load(Acquire)
    }

    /// The descriptor's number, verified.
    pub fn fd(&self) -> Result<i32, ArenaError> {
        self.with_fd(|fd| fd.as_raw_fd())
    }

    /// Takes over a descriptor of this arena's file that came with the process.
    pub fn take_descriptor(&self, number: i32) -> Result<OwnedFd, ArenaError> {
        file::take(number, self.identity)
            .ok_or_else(|| ArenaError::Foreign("this descriptor is not the arena's".into()))
    }

    /// Closes a forked child's copy of a descriptor of ours, if it still is one.
    pub fn close_copy(&self, number: i32) {
        file::close_if(number, self.identity);
    }

    /// Bytes that the file really occupies.
    pub fn occupied(&self) -> Result<u64, ArenaError> {
        Ok(self.with_fd(file::occupied)??)
    }

    /// Opens the file again through a living member's table, or through our own mapping where
    /// the kernel allows that (it asks for `CAP_CHECKPOINT_RESTORE`).
    fn find_descriptor(&self) -> Result<OwnedFd, ArenaError> {
        let mut why = SysError {
            call: "open(/proc/PID/fd/N)",
            errno: libc_errno::ENOENT,
        };
        if self.windows[0].load(Acquire).is_null() {
            return Err(ArenaError::Lost(why));
        }
        for slot in (0..self.slots_used()).map(|index| self.slot(index)) {
            let pid = slot.pid.load(Relaxed);
            let dead = slot.generation.load(Relaxed) == slot.dead.load(Relaxed);
            if pid == 0 || dead || pid == procession_sys::process::pid() {
                continue;
            }
            match file::reopen(Some(pid), slot.fd.load(Relaxed) as i32) {
                Ok(found) if file::identity(found.as_raw_fd()) == Ok(self.identity) => {
                    return Ok(file::duplicate_above(found.as_fd(), LOWEST_FD).unwrap_or(found));
                }
                Ok(_) => {}
                Err(error) => why = error,
            }
        }
        match self.through_own_mapping() {
            Some(found) => Ok(found),
            None => Err(ArenaError::Lost(why)),
        }
    }

    fn through_own_mapping(&self) -> Option<OwnedFd> {
        let base = self.windows[0].load(Acquire) as usize;
        let length = self.window.min(self.size) as usize;
        let path = format!("/proc/self/map_files/{base:x}-{:x}", base + length);
        let found = file::open_path(&path).ok()?;
        (file::identity(found.as_raw_fd()) == Ok(self.identity)).then_some(found)
    }
}
