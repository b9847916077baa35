//! A process in an arena: how it comes in, how others see that it is gone.
//!
//! A slot is one byte of the arena's file under an OFD lock. The lock belongs to an open file
//! of its own that nothing but one page of the process's memory map keeps open: it ends with
//! the process (or its exec), whatever descriptors were closed, and no pid is involved.
//!
//! ```text
//! attach:  reopen the file -> lock the byte of a clean slot -> generation+1 -> pin -> close
//! fork:    the parent does all but the last two *for* the child; the child pins and closes
//! ```
//!
//! So a child has an identity, and its share in the objects that it inherits, before its
//! first instruction, and what its parent frees meanwhile cannot be taken from under it.

use crate::arena::Arena;
use crate::error::{ArenaError, needed, refused};
use crate::layout::{SLOTS, Slot};
use crate::local::{Holdings, Local};
use crate::owner::{Liveness, OwnerId};
use procession_sys::clock::since_boot_ns;
use procession_sys::prim::Ordering::{Acquire, Relaxed, Release};
use procession_sys::{crash_point, file, map, ofd, process};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

/// This process in an arena.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// The arena.
    pub arena: &'static Arena,
    /// What only this process knows of it.
    pub local: &'static Local,
}

/// A slot that a parent holds for the child that it is about to fork.
#[derive(Debug)]
pub struct Reservation {
    /// Who the child will be.
    pub owner: OwnerId,
    file: OwnedFd,
}

impl Reservation {
    /// A reservation that a parent made and handed over: the open file has crossed an exec or
    /// a socket, and keeps the slot locked wherever it is.
    #[must_use]
    pub fn handed_over(owner: OwnerId, file: OwnedFd) -> Self {
        Self { owner, file }
    }

    /// The open file that keeps the slot.
    #[must_use]
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Arena {
    /// Who this process is here, if it has attached.
    #[inline]
    pub fn known_member(&'static self) -> Option<Member> {
        let local = self.wiped().local()?;
        Some(Member { arena: self, local })
    }

    /// Takes a slot for this process.
    pub fn attach(&'static self, holdings: Holdings) -> Result<Member, ArenaError> {
        let reservation = self.reserve()?;
        self.settle(reservation, holdings)
    }

    /// Takes a slot through an open file of its own. The slot lives as long as that file.
    ///
    /// Killed anywhere: the byte unlocks by itself; a generation without attachments is
    /// garbage without anything to sweep.
    pub fn reserve(&'static self) -> Result<Reservation, ArenaError> {
        let number = self.fd()?;
        let file = file::reopen(None, number).map_err(needed)?;
        crash_point!("attach.reopened");
        let (slot, generation) = self.claim(&file)?;
        crash_point!("attach.claimed");
        let owner = OwnerId::new(slot, generation);
        Ok(Reservation { owner, file })
    }

    fn claim(&self, file: &OwnedFd) -> Result<(usize, u32), ArenaError> {
        let header = self.header();
        loop {
            let used = self.slots_used();
            let first = header.slot_hint.load(Relaxed) as usize % used.max(1);
            for index in (first..used).chain(0..first) {
                if let Some(generation) = self.claim_slot(file, index, Slot::is_clean)? {
                    header.slot_hint.store(index as u32 + 1, Relaxed);
                    return Ok((index, generation));
                }
            }
            if used == SLOTS {
                return self.claim_unswept(file);
            }
            // A page of slots is real before one of them is touched; the first came with the file.
            let place = Slot::at(used as u64);
            let page = map::page_size() as u64;
            if used >= Slot::FIRST_RESERVED && place % page == 0 {
                self.with_fd(|fd| file::reserve(fd, place, page))?
                    .map_err(refused)?;
            }
            let next = used as u32 + 1;
            let _ = header
                .slots_used
                .compare_exchange(used as u32, next, Release, Relaxed);
        }
    }

    /// The last resort: a slot whose dead have not been swept. They are told from us by the
    /// generation, until it wraps; the caller sweeps soon.
    fn claim_unswept(&self, file: &OwnedFd) -> Result<(usize, u32), ArenaError> {
        for index in 0..SLOTS {
            if let Some(generation) = self.claim_slot(file, index, |_| true)? {
                return Ok((index, generation));
            }
        }
        Err(ArenaError::Crowded)
    }

    fn claim_slot(
        &self,
        file: &OwnedFd,
        index: usize,
        may: impl Fn(&Slot) -> bool,
    ) -> Result<Option<u32>, ArenaError> {
        let slot = self.slot(index);
        if !may(slot) || !ofd::try_lock(file.as_fd(), index as u64).map_err(needed)? {
            return Ok(None);
        }
        crash_point!("attach.locked");
        // Another process may have come and died between the look and the lock.
        if !may(slot) {
            ofd::unlock(file.as_fd(), index as u64)?;
            return Ok(None);
        }
        slot.pid.store(0, Relaxed);
        slot.claimed_by.store(process::pid(), Relaxed);
        let generation = slot.generation.load(Relaxed).wrapping_add(1);
        // Release pairs with the Acquire of `is_dead`: whoever sees the new generation sees
        // the cleared pid, too.
        slot.generation.store(generation, Release);
        Ok(Some(generation))
    }

    /// Makes a reservation this process's own: pins the open file and forgets the descriptor.
    pub fn settle(
        &'static self,
        reservation: Reservation,
        holdings: Holdings,
    ) -> Result<Member, ArenaError> {
        map::pin(reservation.file.as_fd()).map_err(needed)?;
        crash_point!("attach.pinned");
        drop(reservation.file);
        let owner = reservation.owner;
        if let Some(index) = owner.slot() {
            let slot = self.slot(index);
            let pid = process::pid();
            slot.fd.store(self.fd_number() as u32, Relaxed);
            slot.attached_at.store(since_boot_ns(), Relaxed);
            slot.namespace.store(process::pid_namespace(), Relaxed);
            slot.pid.store(pid, Release);
        }
        let local = self.wiped().become_member(Local::new(owner, holdings));
        let last = std::ptr::from_ref(local).cast_mut();
        self.last_local.store(last, Ordering::Release);
        crash_point!("attach.done");
        Ok(Member { arena: self, local })
    }

    /// What the process that forked us held, if no thread of its had it locked: for a child
    /// that was made behind our back.
    pub fn inherited_holdings(&self) -> Holdings {
        let last = self.last_local.load(Ordering::Acquire);
        // SAFETY: null, or a Local leaked by `settle` in this process or an ancestor, whose
        // memory fork copied; a Local is never freed.
        let last: Option<&'static Local> = unsafe { last.as_ref() };
        let private = last.and_then(Local::try_private);
        private
            .map(|private| private.holdings.clone())
            .unwrap_or_default()
    }

    /// Whether `owner` is a process that has attached, or is being forked, and lives.
    pub fn try_is_dead(&self, owner: OwnerId) -> Result<bool, ArenaError> {
        let Some(index) = owner.slot() else {
            return Ok(owner == OwnerId::DECEASED);
        };
        if index >= self.slots_used() {
            return Ok(true);
        }
        let slot = self.slot(index);
        let generation = slot.generation.load(Acquire);
        if !owner.is_generation(generation) {
            return Ok(true);
        }
        if generation != 0 && slot.dead.load(Acquire) == generation {
            return Ok(true);
        }
        let (number, locked) =
            self.with_fd(|fd| (fd.as_raw_fd(), ofd::is_locked(fd, index as u64)))?;
        if locked.map_err(needed)? {
            return Ok(false);
        }
        // Nobody dies by hearsay: the descriptor that was asked must still be ours.
        if !self.is_ours(number) {
            return self.try_is_dead(owner);
        }
        // Only the generation that was current before the question is dead by the answer.
        if slot.generation.load(Acquire) == generation {
            slot.dead.store(generation, Release);
        }
        Ok(true)
    }

    /// Calls `f` with the pid of each process that `parent`, which started `parent_started`
    /// nanoseconds after boot, has started and that may live, in this pid namespace. They are
    /// its children for its user: for the kernel those of a zygote are not.
    ///
    /// Async-signal-safe in a process that has attached.
    pub fn each_started_by(&self, parent: u32, parent_started: u64, f: &mut impl FnMut(u32)) {
        let namespace = process::pid_namespace();
        for slot in (0..self.slots_used()).map(|index| self.slot(index)) {
            let generation = slot.generation.load(Acquire);
            let pid = slot.pid.load(Acquire);
            let began = slot.attached_at.load(Relaxed);
            let is_child = slot.claimed_by.load(Relaxed) == parent && pid != parent && pid != 0;
            // A parent that began after its child is another process of the same pid.
            let is_meant = is_child
                && slot.namespace.load(Relaxed) == namespace
                && parent_started <= began
                && slot.left.load(Relaxed) != generation
                && slot.dead.load(Relaxed) != generation;
            let is_still_it = || {
                let latest = began + process::TICK_NS;
                process::started_at(pid).is_some_and(|started| started <= latest)
            };
            if is_meant && is_still_it() && slot.generation.load(Acquire) == generation {
                f(pid);
            }
        }
    }

    /// Whether the process recorded for `owner` no longer exists: nobody has its pid, or somebody
    /// who started later. A stray child of a raw fork may pin its parent's slot; this tells.
    fn is_gone_by_pid(&self, owner: OwnerId) -> bool {
        let Some(slot) = owner.slot().map(|index| self.slot(index)) else {
            return false;
        };
        let pid = slot.pid.load(Acquire);
        if pid == 0 || !owner.is_generation(slot.generation.load(Acquire)) {
            return false;
        }
        // Pids mean something only within one namespace.
        if slot.namespace.load(Acquire) != process::pid_namespace() {
            return false;
        }
        let latest = slot.attached_at.load(Acquire) + process::TICK_NS;
        // /proc may hide the processes of others: only kill() knows that there is none.
        !process::exists(pid) || process::started_at(pid).is_some_and(|started| started > latest)
    }
}

impl Liveness for Arena {
    fn is_dead(&self, owner: OwnerId) -> bool {
        // Where death cannot be proved nobody is dead; who must know calls try_is_dead.
        self.try_is_dead(owner).unwrap_or(false)
    }

    /// While the slot still says so.
    fn pid_of(&self, owner: OwnerId) -> u32 {
        let Some(slot) = owner.slot().map(|index| self.slot(index)) else {
            return 0;
        };
        let pid = slot.pid.load(Acquire);
        if owner.is_generation(slot.generation.load(Acquire)) {
            pid
        } else {
            0
        }
    }

    fn is_dead_after_long_wait(&self, owner: OwnerId) -> bool {
        self.is_dead(owner) || self.is_gone_by_pid(owner)
    }
}

impl Slot {
    /// Whether nothing in the arena is owned by an earlier process of this slot.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let generation = self.generation.load(Acquire);
        self.swept.load(Acquire) == generation || self.left.load(Acquire) == generation
    }

    /// The owner that has or had this slot last; None for a slot never claimed.
    #[must_use]
    pub fn owner(&self, index: usize) -> Option<OwnerId> {
        let generation = self.generation.load(Acquire);
        (generation != 0).then(|| OwnerId::new(index, generation))
    }
}

impl Member {
    /// A number for an object that no object of this arena had or will have: owner and count.
    #[must_use]
    pub fn next_serial(&self) -> u64 {
        const COUNTS: u32 = 34;
        let mut private = self.local.private();
        private.serials += 1;
        u64::from(self.local.owner.bits()) << COUNTS | private.serials & ((1 << COUNTS) - 1)
    }
}
