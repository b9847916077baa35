//! One error for all calls: which one, and what the kernel said.

use std::fmt;

/// A refused system call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SysError {
    /// The call as a user would look it up: `memfd_create`, `fcntl(F_OFD_SETLK)`.
    pub call: &'static str,
    /// The kernel's errno.
    pub errno: i32,
}

/// What a wrapped call gives.
pub type SysResult<T> = Result<T, SysError>;

impl SysError {
    /// The error of the call that just failed on this thread.
    #[must_use]
    pub fn last(call: &'static str) -> Self {
        Self {
            call,
            errno: std::io::Error::last_os_error().raw_os_error().unwrap_or(0),
        }
    }

    /// Whether the kernel lacks the call or a sandbox denies it, as against a passing refusal.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(
            self.errno,
            libc::ENOSYS | libc::EPERM | libc::EACCES | libc::EOPNOTSUPP
        )
    }
}

impl fmt::Display for SysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = std::io::Error::from_raw_os_error(self.errno);
        write!(f, "{}: {said}", self.call)
    }
}

impl std::error::Error for SysError {}
