//! The memory file of a family of processes, mapped.

mod descriptor;
mod extents;
mod memory;

use crate::error::{ArenaError, needed, refused};
use crate::layout::{
    EXTENT, EXTENTS_AT, FIRST_SPAN, Header, LAYOUT_VERSION, MAGIC, SLOTS_AT, Slot,
};
use crate::local::{Local, Wiped};
use crate::size;
use procession_sys::file::{self, FileIdentity};
use procession_sys::prim::AtomicU32;
use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::sync::Mutex;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicI32, AtomicPtr};

/// The arena's name: 128 random bits.
pub type Nonce = [u8; 16];

/// Our descriptor lives above the numbers that programs count on, within the 64 that cost a
/// fork nothing.
const LOWEST_FD: i32 = 40;
/// One arena as this process maps it. Made once, never dropped.
#[derive(Debug)]
pub struct Arena {
    nonce: Nonce,
    size: u64,
    identity: FileIdentity,
    fd: AtomicI32,
    /// Bytes of one window; the arena's size when it is mapped whole.
    window: u64,
    windows: Box<[AtomicPtr<u8>]>,
    /// Runs that lie across windows, mapped once more: (offset, length, address).
    across: Mutex<Vec<(u64, u64, usize)>>,
    wiped: &'static Wiped,
    /// Words of all spans below this one have memory, as far as this process knows.
    words_reserved: AtomicU32,
    /// The last Local of this process *or of the one it was forked from*.
    pub(crate) last_local: AtomicPtr<Local>,
    next: AtomicPtr<Arena>,
}

/// All arenas that this process maps, newest first; its own is the first it met.
static ARENAS: AtomicPtr<Arena> = AtomicPtr::new(std::ptr::null_mut());
static CURRENT: AtomicPtr<Arena> = AtomicPtr::new(std::ptr::null_mut());

fn leaked(arena: *mut Arena) -> Option<&'static Arena> {
    // SAFETY: null, or an Arena leaked by `register`, never freed.
    unsafe { arena.as_ref() }
}

impl Arena {
    /// The arena in which this process makes new objects, if it has one.
    #[inline]
    pub fn current() -> Option<&'static Self> {
        leaked(CURRENT.load(Acquire))
    }

    /// From now on this process makes its new objects here: a process that starts in a family
    /// is of that family, whatever it met before.
    pub fn make_current(&'static self) {
        let own = std::ptr::from_ref(self).cast_mut();
        CURRENT.store(own, Release);
    }

    /// Every arena that this process maps.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        let mut next = leaked(ARENAS.load(Acquire));
        std::iter::from_fn(move || {
            let arena = next?;
            next = leaked(arena.next.load(Acquire));
            Some(arena)
        })
    }

    /// The arena of that name, if this process maps it.
    #[must_use]
    pub fn by_nonce(nonce: &Nonce) -> Option<&'static Self> {
        Self::all().find(|arena| arena.nonce == *nonce)
    }

    /// Makes a new arena and maps it. The caller attaches.
    pub fn create() -> Result<&'static Self, ArenaError> {
        let size = size::choose()?;
        let fd = file::create_unnamed().map_err(refused)?;
        file::set_length(fd.as_fd(), size).map_err(refused)?;
        let head = Slot::at(Slot::FIRST_RESERVED as u64);
        file::reserve(fd.as_fd(), 0, head).map_err(refused)?;
        let extents = size / EXTENT / 8;
        file::reserve(fd.as_fd(), EXTENTS_AT, extents.max(1)).map_err(refused)?;

        let identity = file::identity(fd.as_raw_fd())?;
        let nonce = file::random_nonce()?;
        let arena = Self::map(fd, nonce, size, identity)?;
        let header = arena.header();
        header.size.store(size, Relaxed);
        let halves = nonce_words(&nonce);
        header.nonce[0].store(halves[0], Relaxed);
        header.nonce[1].store(halves[1], Relaxed);
        header.device.store(identity.device, Relaxed);
        header.inode.store(identity.inode, Relaxed);
        header.span_hint.store(FIRST_SPAN, Relaxed);
        header.spans_used.store(FIRST_SPAN, Relaxed);
        header.committed.store(head, Relaxed);
        header.layout_version.store(LAYOUT_VERSION, Relaxed);
        // Release pairs with the Acquire in `verify`: a header with the magic is complete.
        header.magic.store(MAGIC, Release);
        Ok(arena.register())
    }

    /// Maps the arena behind `fd`, unless this process does already. The caller attaches.
    pub fn open(fd: BorrowedFd<'_>) -> Result<&'static Self, ArenaError> {
        let fd = file::duplicate_above(fd, LOWEST_FD)?;
        let size = file::length(fd.as_fd())?;
        let identity = file::identity(fd.as_raw_fd())?;
        if let Some(known) = Self::all().find(|arena| arena.identity == identity) {
            return Ok(known);
        }
        // Read before it is mapped: a mapping is for ever.
        let nonce = Self::verify(fd.as_fd(), size)?;
        Ok(Self::map(fd, nonce, size, identity)?.register())
    }

    fn verify(fd: BorrowedFd<'_>, size: u64) -> Result<Nonce, ArenaError> {
        let foreign = || ArenaError::Foreign("this file is not an arena".into());
        let mut bytes = [0; size_of::<Header>()];
        if size < crate::layout::MIN_SIZE || !file::read_at(fd, &mut bytes, 0)? {
            return Err(foreign());
        }
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]));
        if word(offset_of!(Header, magic)) != MAGIC {
            return Err(foreign());
        }
        let version = word(offset_of!(Header, layout_version)) as u32;
        if version != LAYOUT_VERSION {
            return Err(ArenaError::Foreign(format!(
                "the arena has layout {version}, this procession speaks {LAYOUT_VERSION}: \
                 run one version of procession in all processes of a family"
            )));
        }
        if word(offset_of!(Header, size)) != size {
            return Err(ArenaError::Foreign("the arena's file was cut".into()));
        }
        let nonce = offset_of!(Header, nonce);
        Ok(std::array::from_fn(|byte| bytes[nonce + byte]))
    }

    fn map(
        fd: OwnedFd,
        nonce: Nonce,
        size: u64,
        identity: FileIdentity,
    ) -> Result<Self, ArenaError> {
        let fd = file::duplicate_above(fd.as_fd(), LOWEST_FD).unwrap_or(fd);
        let (window, first) = memory::map_first_window(fd.as_fd(), size)?;
        let count = size.div_ceil(window) as usize;
        let mut windows = Vec::new();
        windows
            .try_reserve_exact(count)
            .map_err(|_| ArenaError::NoMemory("no room for the table of windows".into()))?;
        windows.push(AtomicPtr::new(first.as_ptr()));
        windows.resize_with(count, AtomicPtr::default);
        Ok(Self {
            nonce,
            size,
            identity,
            fd: AtomicI32::new(fd.into_raw_fd()),
            window,
            windows: windows.into_boxed_slice(),
            across: Mutex::new(Vec::new()),
            wiped: Wiped::new().map_err(needed)?,
            words_reserved: AtomicU32::new(0),
            last_local: AtomicPtr::default(),
            next: AtomicPtr::default(),
        })
    }

    fn register(self) -> &'static Self {
        let arena = Box::leak(Box::new(self));
        let mut head = ARENAS.load(Acquire);
        loop {
            arena.next.store(head, Relaxed);
            // Release publishes the finished Arena to the Acquire loads above.
            match ARENAS.compare_exchange(head, arena, AcqRel, Acquire) {
                Ok(_) => break,
                Err(now) => head = now,
            }
        }
        let arena: &'static Self = arena;
        let own = std::ptr::from_ref(arena).cast_mut();
        let _ = CURRENT.compare_exchange(std::ptr::null_mut(), own, AcqRel, Acquire);
        arena
    }

    /// The arena's name.
    #[must_use]
    pub fn nonce(&self) -> &Nonce {
        &self.nonce
    }

    /// Device and inode of the file.
    pub(crate) fn identity(&self) -> FileIdentity {
        self.identity
    }

    /// Bytes of the file, sparse.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The page that tells who we are.
    #[must_use]
    pub fn wiped(&self) -> &'static Wiped {
        self.wiped
    }
}

impl Slot {
    /// Slots whose memory is reserved when the arena is made.
    pub(crate) const FIRST_RESERVED: usize = 64;

    /// Offset of a slot.
    #[must_use]
    pub const fn at(index: u64) -> u64 {
        SLOTS_AT + index * size_of::<Self>() as u64
    }
}

fn nonce_words(nonce: &Nonce) -> [u64; 2] {
    let both = u128::from_le_bytes(*nonce);
    [both as u64, (both >> 64) as u64]
}
