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
