//! What only this process knows of an arena: who it is there, and its part of the heap.
//!
//! Everything hangs off one page that a forked child finds zeroed. So a child never sees a
//! mutex that another thread of its parent held, nor mistakes its parent's identity for its
//! own: it finds nobody and attaches first.

use crate::heap::Heap;
use crate::owner::OwnerId;
use procession_sys::{SysResult, map};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// This process's handles to one object.
#[derive(Clone, Copy, Debug)]
pub struct Holding {
    /// The object's number.
    pub serial: u64,
    /// Handles in this process; the ledger in the arena has one entry for all of them.
    pub handles: u32,
}

/// Spreads offsets, which differ in their middle bits.
#[derive(Default, Debug)]
pub struct OffsetHasher(u64);

impl Hasher for OffsetHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }
    fn write_u64(&mut self, offset: u64) {
        self.0 = (self.0 ^ offset >> 6).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 ^= self.0 >> 32;
    }
}

/// Objects by offset.
pub type Holdings = HashMap<u64, Holding, BuildHasherDefault<OffsetHasher>>;

/// What the process's threads share under one mutex.
#[derive(Debug, Default)]
pub struct Private {
    /// The spans that this process allocates from.
    pub heap: Heap,
    /// The objects that it holds handles to.
    pub holdings: Holdings,
    /// Children whose slots it reserved before it forked them.
    pub children: Vec<OwnerId>,
    /// Numbers given to objects so far.
    pub serials: u64,
}

/// A process's life in an arena, from attach to death.
#[derive(Debug)]
pub struct Local {
    /// Who we are.
    pub owner: OwnerId,
    private: Mutex<Private>,
    /// Blocks that this process prepares or has received: while there are any, its end is no
    /// clean one.
    pub payloads: AtomicU64,
}

impl Local {
    /// A newly attached process.
    #[must_use]
    pub fn new(owner: OwnerId, holdings: Holdings) -> Self {
        let private = Private {
            holdings,
            ..Private::default()
        };
        Self {
            owner,
            private: Mutex::new(private),
            payloads: AtomicU64::new(0),
        }
    }

    /// The private part, locked against this process's other threads. Nothing of Python
    /// happens while it is held.
    pub fn private(&self) -> MutexGuard<'_, Private> {
        // A panic under the mutex leaves private hints at worst out of date, never wrong
        // about the arena, whose words are the truth.
        self.private.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The private part, if no thread holds it: for a child that a raw clone made, whose
    /// parent's other threads do not exist.
    pub fn try_private(&self) -> Option<MutexGuard<'_, Private>> {
        self.private.try_lock().ok()
    }
}

/// The page that fork zeroes.
#[repr(C)]
#[derive(Debug)]
pub struct Wiped {
    owner: AtomicU32,
    /// 1: a thread is attaching.
    attaching: AtomicU32,
    local: AtomicPtr<Local>,
}

/// The right to attach this process; it ends with this.
#[derive(Debug)]
#[must_use = "dropping it lets the next thread attach"]
pub struct Attaching<'a>(&'a Wiped);

impl Drop for Attaching<'_> {
    fn drop(&mut self) {
        // Release pairs with the Acquire in `attaching`: the next thread sees who we are.
        self.0.attaching.store(0, Ordering::Release);
    }
}

impl Wiped {
    /// A new page, for the life of the process.
    pub fn new() -> SysResult<&'static Self> {
        let page = map::wiped_on_fork()?;
        // SAFETY: the page is private, zeroed, page-aligned, large enough and never unmapped;
        // zero is a valid value of all three atomics.
        Ok(unsafe { page.cast::<Self>().as_ref() })
    }

    /// Who this process is, as bits; 0 when it has not attached (or has just been forked).
    #[inline]
    pub fn owner(&self) -> &AtomicU32 {
        &self.owner
    }

    /// What this process knows, once attached.
    pub fn local(&self) -> Option<&'static Local> {
        // Acquire pairs with the Release in `become_member`: the Local is complete.
        let local = self.local.load(Ordering::Acquire);
        // SAFETY: null, or a Local leaked by `become_member` of this very process (fork
        // zeroes the page), so it is never freed.
        unsafe { local.as_ref() }
    }

    /// Who this process was is nobody's business any more: it has left.
    pub fn forget(&self) {
        self.owner.store(0, Ordering::Release);
        self.local.store(std::ptr::null_mut(), Ordering::Release);
    }

    /// Lets one thread at a time find out that the process is nobody yet, and attach it. A child
    /// forked meanwhile finds the right free, like the rest of the page.
    pub fn attaching(&self) -> Attaching<'_> {
        let free = || {
            self.attaching
                .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
        };
        while free().is_err() {
            std::thread::yield_now();
        }
        Attaching(self)
    }

    /// Declares who this process is. The owner goes last: who sees it finds the Local.
    pub fn become_member(&self, local: Local) -> &'static Local {
        let local: &'static Local = Box::leak(Box::new(local));
        self.local
            .store(std::ptr::from_ref(local).cast_mut(), Ordering::Release);
        self.owner.store(local.owner.bits(), Ordering::Release);
        local
    }
}
