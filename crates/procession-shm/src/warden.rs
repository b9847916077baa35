//! The warden: a process that outlives a family, and removes the segments that it named.
//!
//! Names in /dev/shm do not go with the processes that made them, and a family that is killed
//! whole cannot take them along. So a family that names segments has a warden: a hermit
//! ([`procession_sys::hermit`]) with nothing but the arena's file open. It waits in the kernel for
//! the byte of any slot that is locked, then looks for another; when there is none, no process of
//! the family lives, and it removes what the family's tags name, and ends.
//!
//! ```text
//! byte 0 .. SLOTS-1   a process each, locked while it lives
//! byte SLOTS          the warden: one for a family; a new one when it has been shot
//! ```
//!
//! A warden that is shot after the family's last look at it leaves that to the next arena of
//! the user ([`procession_sys::segment::sweep`]).

use crate::arena::Arena;
use crate::error::{ArenaError, needed};
use crate::layout::{Header, SLOTS, Slot};
use procession_sys::segment::{self, Family, Name};
use procession_sys::{SysResult, clock, file, hermit, ofd};
use std::mem::offset_of;
use std::os::fd::{AsFd, BorrowedFd};

const POST: u64 = SLOTS as u64;

impl Arena {
    /// How tags name the family of this arena.
    #[must_use]
    pub fn family(&self) -> Family {
        Family::new(*self.nonce(), self.identity())
    }

    /// Sees to it that there is a warden: from before this returns.
    pub fn ensure_warden(&self) -> Result<(), ArenaError> {
        let has_one = self.with_fd(|fd| ofd::is_locked(fd, POST))?;
        if has_one.map_err(needed)? {
            return Ok(());
        }
        let post = file::reopen(None, self.fd()?).map_err(needed)?;
        // The open file is the warden's: the lock ends with its last copy, which is the warden's.
        if !ofd::try_lock(post.as_fd(), POST).map_err(needed)? {
            return Ok(());
        }
        let family = self.family().name();
        hermit::start(post.as_fd(), self.identity(), &|fd| keep_watch(fd, &family))?;
        Ok(())
    }
}

/// The warden's life: system calls and the stack alone.
fn keep_watch(arena: BorrowedFd<'_>, family: &Name) {
    const PATIENCE: u64 = 100_000_000; // ns, when the kernel has no memory for a lock
    loop {
        let before = generations(arena);
        match first_living(arena) {
            Ok(None) if generations(arena) == before => break,
            Ok(None) => {}
            Ok(Some(slot)) => {
                if ofd::wait_until_free(arena, slot).is_err() {
                    clock::pause(PATIENCE);
                }
            }
            Err(_) => clock::pause(PATIENCE),
        }
    }
    segment::remove_all(family);
}

/// Bumped by everyone who comes: nobody came if it is the same as before.
fn generations(arena: BorrowedFd<'_>) -> u32 {
    let generation = |slot: u64| word(arena, Slot::at(slot) + offset_of!(Slot, generation) as u64);
    (0..slots_used(arena)).fold(0, |sum, slot| sum.wrapping_add(generation(slot)))
}

fn first_living(arena: BorrowedFd<'_>) -> SysResult<Option<u64>> {
    for slot in 0..slots_used(arena) {
        if ofd::is_locked(arena, slot)? {
            return Ok(Some(slot));
        }
    }
    Ok(None)
}

fn slots_used(arena: BorrowedFd<'_>) -> u64 {
    u64::from(word(arena, offset_of!(Header, slots_used) as u64)).min(POST)
}

/// Read from the file: the objects that know where it is mapped are gone.
fn word(arena: BorrowedFd<'_>, at: u64) -> u32 {
    let mut bytes = [0; 4];
    let _ = file::read_at(arena, &mut bytes, at); // 0 where nothing was ever written
    u32::from_ne_bytes(bytes)
}
