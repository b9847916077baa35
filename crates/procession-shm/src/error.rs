//! What can go wrong with an arena, as its users are told.

use procession_sys::SysError;
use std::fmt;

/// A refusal of the arena. Nothing shared has changed when one is returned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ArenaError {
    /// No memory: the arena's size, a control group, the kernel. Says which.
    NoMemory(String),
    /// The system lacks what liveness needs.
    Unsupported(SysError),
    /// The program closed our descriptor and no living member can lend one.
    Lost(SysError),
    /// The handle's object is gone, or of an arena that this process has not mapped.
    Stale(String),
    /// Not an arena, or one of another version of procession.
    Foreign(String),
    /// Every slot is taken by a living process.
    Crowded,
    /// A call failed for another reason.
    System(SysError),
}

impl From<SysError> for ArenaError {
    fn from(error: SysError) -> Self {
        Self::System(error)
    }
}

impl fmt::Display for ArenaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemory(why) => write!(f, "no shared memory: {why}"),
            Self::Unsupported(error) => {
                write!(f, "this system lacks what procession needs: {error}")
            }
            Self::Lost(error) => write!(
                f,
                "the program closed procession's file descriptor and no living process of the \
                 family can lend it ({error}); keep it open when a daemon closes descriptors"
            ),
            Self::Stale(what) | Self::Foreign(what) => f.write_str(what),
            Self::Crowded => write!(
                f,
                "{} processes share this arena already",
                crate::layout::SLOTS
            ),
            Self::System(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for ArenaError {}

/// Memory that the kernel refused is `NoMemory`, a missing call is `Unsupported`.
pub(crate) fn refused(error: SysError) -> ArenaError {
    match error.errno {
        libc_errno::ENOMEM | libc_errno::ENOSPC | libc_errno::EFBIG | libc_errno::EDQUOT => {
            ArenaError::NoMemory(error.to_string())
        }
        _ => unsupported(error),
    }
}

fn unsupported(error: SysError) -> ArenaError {
    if error.is_missing() {
        ArenaError::Unsupported(error)
    } else {
        ArenaError::System(error)
    }
}

/// What liveness cannot do without: refused for want of memory or descriptors it may come
/// back; refused otherwise (EINVAL is an old kernel's answer) the system lacks it.
pub(crate) fn needed(error: SysError) -> ArenaError {
    match error.errno {
        libc_errno::ENOMEM => ArenaError::NoMemory(error.to_string()),
        libc_errno::EMFILE | libc_errno::ENFILE => ArenaError::System(error),
        _ => ArenaError::Unsupported(error),
    }
}

/// The errno values that decide something here; the same on every Linux that Rust knows.
pub(crate) mod libc_errno {
    pub(crate) const ENOENT: i32 = 2;
    pub(crate) const ENOMEM: i32 = 12;
    pub(crate) const ENFILE: i32 = 23;
    pub(crate) const EMFILE: i32 = 24;
    pub(crate) const EFBIG: i32 = 27;
    pub(crate) const ENOSPC: i32 = 28;
    pub(crate) const EDQUOT: i32 = 122;
}
