//! The memory file of a family of processes, mapped.

use crate::error::ArenaError;
use crate::layout::{
    EXTENT, EXTENTS_AT, FIRST_SPAN, Header, LAYOUT_VERSION, MAGIC, SLOTS, SLOTS_AT, SPAN,
    SPAN_WORDS_AT, Shared, Slot, WINDOW,
};
use crate::local::{Local, Wiped};
use crate::size;
use procession_sys::file::{self, FileIdentity};
use procession_sys::limits::ControlGroups;
use procession_sys::map::PrivatePages;
use procession_sys::prim::{AtomicU32, AtomicU64};
use procession_sys::{SysError, crash_point, map};
use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicI32, AtomicPtr};
use std::sync::{Mutex, PoisonError};

/// The arena's name: 128 random bits.
pub type Nonce = [u8; 16];

/// Our descriptor lives above the numbers that programs count on, within the 64 that cost a
/// fork nothing.
const LOWEST_FD: i32 = 40;
/// Memory that a control group shall keep after an extent was added, so that the program's
/// own allocations do not meet the OOM killer first.
const CGROUP_RESERVE: u64 = 8 << 20;

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
        let (window, first) = map_first_window(fd.as_fd(), size)?;
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

    // ---- memory -------------------------------------------------------------------------

    fn window_at(&self, index: usize) -> Result<NonNull<u8>, ArenaError> {
        let window = &self.windows[index];
        // Acquire pairs with the AcqRel below: another thread's mapping is complete.
        if let Some(at) = NonNull::new(window.load(Acquire)) {
            return Ok(at);
        }
        let offset = index as u64 * self.window;
        let length = self.window.min(self.size - offset);
        let at = self.map_range(offset, length)?;
        let raced = window.compare_exchange(std::ptr::null_mut(), at.as_ptr(), AcqRel, Acquire);
        // Who lost the race leaves a spare mapping of the same memory behind: harmless, rare.
        Ok(raced.err().and_then(NonNull::new).unwrap_or(at))
    }

    fn map_range(&self, offset: u64, length: u64) -> Result<NonNull<u8>, ArenaError> {
        size::check_room(length)?;
        self.with_fd(|fd| map_range_of(fd, offset, length))?
    }

    /// Where `length` bytes at `offset` are mapped here. Bounds are checked; the memory must
    /// have been committed or reading it may fault.
    #[inline]
    pub fn bytes(&self, offset: u64, length: u64) -> Result<NonNull<u8>, ArenaError> {
        // Where the arena is mapped whole the first window is all of it.
        if let Some(end) = offset.checked_add(length) {
            if let Some(base) = NonNull::new(self.windows[0].load(Acquire)) {
                if end <= self.window && end <= self.size {
                    // SAFETY: `offset..end` lies inside the first window, which is mapped.
                    return Ok(unsafe { base.add(offset as usize) });
                }
            }
        }
        self.bytes_in_windows(offset, length)
    }

    fn bytes_in_windows(&self, offset: u64, length: u64) -> Result<NonNull<u8>, ArenaError> {
        let end = offset.checked_add(length).filter(|end| *end <= self.size);
        let Some(end) = end else {
            return Err(ArenaError::Stale(format!(
                "{offset:#x} lies outside the arena"
            )));
        };
        // Mapped whole, as nearly always: no division.
        if let [whole] = &*self.windows {
            if let Some(base) = NonNull::new(whole.load(Acquire)) {
                // SAFETY: `offset..end` lies inside the file, which is mapped whole.
                return Ok(unsafe { base.add(offset as usize) });
            }
        }
        let (first, last) = (offset / self.window, end.saturating_sub(1) / self.window);
        if first == last || length == 0 {
            let base = self.window_at(first as usize)?;
            // SAFETY: `offset..end` lies inside this window, which is mapped whole.
            return Ok(unsafe { base.add((offset % self.window) as usize) });
        }
        let mut across = self.across.lock().unwrap_or_else(PoisonError::into_inner);
        let known = across
            .iter()
            .find(|view| view.0 == offset && view.1 == length);
        if let Some(view) = known {
            return NonNull::new(view.2 as *mut u8).ok_or(ArenaError::Crowded);
        }
        // Mappings begin at pages, runs' bodies do not.
        let before = offset % map::page_size() as u64;
        let at = self.map_range(offset - before, length + before)?;
        // SAFETY: `before` bytes more than asked for were mapped in front.
        let at = unsafe { at.add(before as usize) };
        across.push((offset, length, at.as_ptr() as usize));
        Ok(at)
    }

    /// The offset that is mapped at this address here; None for an address that is not the arena's.
    #[must_use]
    pub fn offset_of(&self, address: usize) -> Option<u64> {
        let in_window = |(index, window): (usize, &AtomicPtr<u8>)| {
            let base = window.load(Acquire) as usize;
            let within = address.checked_sub(base).filter(|_| base != 0)? as u64;
            let offset = (index as u64 * self.window).checked_add(within)?;
            (within < self.window && offset < self.size).then_some(offset)
        };
        let found = self.windows.iter().enumerate().find_map(in_window);
        if found.is_some() || self.windows.len() == 1 {
            return found;
        }
        let across = self.across.lock().unwrap_or_else(PoisonError::into_inner);
        across.iter().find_map(|(offset, length, at)| {
            let within = address.checked_sub(*at)? as u64;
            (within < *length).then_some(offset + within)
        })
    }

    /// The pages around these bytes, to be written in by this process for itself; and how far inside they
    /// begin.
    pub fn private_pages(
        &self,
        offset: u64,
        length: u64,
    ) -> Result<(PrivatePages, usize), ArenaError> {
        let end = offset.checked_add(length).filter(|end| *end <= self.size);
        let Some(_) = end else {
            return Err(ArenaError::Stale(format!(
                "{offset:#x} lies outside the arena"
            )));
        };
        let before = offset % map::page_size() as u64;
        let length = (length + before) as usize;
        size::check_room(length as u64)?;
        let pages = self.with_fd(|fd| PrivatePages::map(fd, offset - before, length))?;
        Ok((pages.map_err(refused)?, before as usize))
    }

    /// Zeroes a range that the caller has allocated and nobody else knows.
    pub fn zero(&self, offset: u64, length: u64) -> Result<(), ArenaError> {
        let at = self.bytes(offset, length)?;
        // SAFETY: `bytes` checked that the range is mapped; the caller's ALLOC word keeps
        // every other process and thread away from it.
        unsafe { at.write_bytes(0, length as usize) };
        Ok(())
    }

    /// A shared layout at `offset`; an error when it is outside the arena or misaligned.
    #[inline]
    pub fn at<T: Shared>(&self, offset: u64) -> Result<&'static T, ArenaError> {
        if offset % align_of::<T>() as u64 != 0 {
            return Err(ArenaError::Stale(format!(
                "{offset:#x} is no place of an object"
            )));
        }
        let at = self.bytes(offset, size_of::<T>() as u64)?.cast::<T>();
        // SAFETY: inside the mapping (bytes), aligned (windows are page-aligned and `offset`
        // was checked), never unmapped; `Shared` promises that any content is valid.
        Ok(unsafe { at.as_ref() })
    }

    /// `count` words at `offset`, which must be inside one window.
    pub(crate) fn words(
        &self,
        offset: u64,
        count: u64,
    ) -> Result<&'static [AtomicU64], ArenaError> {
        let at = self.bytes(offset, count * 8)?.cast::<AtomicU64>();
        if !at.is_aligned() {
            return Err(ArenaError::Stale(format!(
                "{offset:#x} is no place of words"
            )));
        }
        // SAFETY: inside the mapping (bytes), aligned (just checked), never unmapped; any
        // content is a valid AtomicU64.
        Ok(unsafe { std::slice::from_raw_parts(at.as_ptr(), count as usize) })
    }

    /// `count` neighbours of a shared layout from `offset` on.
    pub fn slice<T: Shared>(&self, offset: u64, count: u64) -> Result<&'static [T], ArenaError> {
        let length = count.saturating_mul(size_of::<T>() as u64);
        let at = self.bytes(offset, length)?.cast::<T>();
        if !at.is_aligned() {
            return Err(ArenaError::Stale(format!(
                "{offset:#x} is no place of a table"
            )));
        }
        // SAFETY: inside the mapping (bytes), aligned (just checked), never unmapped; `Shared`
        // promises that any content is valid.
        Ok(unsafe { std::slice::from_raw_parts(at.as_ptr(), count as usize) })
    }

    fn always<T: Shared>(&self, offset: u64) -> &'static T {
        match self.at(offset) {
            Ok(found) => found,
            // Tables lie below FIRST_SPAN, inside every arena; only mapping a window of them
            // can fail, and then nothing of ours can go on.
            Err(error) => panic!("procession: the arena's tables cannot be reached: {error}"),
        }
    }

    /// The arena's first page.
    #[must_use]
    pub fn header(&self) -> &'static Header {
        self.always(0)
    }

    /// A process's place.
    #[must_use]
    pub fn slot(&self, index: usize) -> &'static Slot {
        self.always(Slot::at(index as u64))
    }

    /// Slots that were ever claimed; never more than there are, whatever the header says.
    #[must_use]
    pub fn slots_used(&self) -> usize {
        (self.header().slots_used.load(Acquire) as usize).min(SLOTS)
    }

    /// The word of a span whose extent is committed.
    #[must_use]
    pub fn span_word(&self, span: u32) -> &'static AtomicU64 {
        self.always(SPAN_WORDS_AT + u64::from(span) * 8)
    }

    /// Spans that the arena's size allows.
    #[must_use]
    pub fn span_limit(&self) -> u32 {
        (self.size / SPAN) as u32
    }

    fn extent_bits(&self, extent: u64) -> (&'static AtomicU32, u32) {
        (
            self.always(EXTENTS_AT + extent / 32 * 4),
            1 << (extent % 32),
        )
    }

    /// Whether the span's memory has been reserved.
    #[must_use]
    pub fn is_committed(&self, span: u32) -> bool {
        let (word, bit) = self.extent_bits(u64::from(span) * SPAN / EXTENT);
        word.load(Acquire) & bit != 0
    }

    /// Reserves the memory of `count` spans' words from `span` on, so that they can be looked at.
    pub(crate) fn commit_words(&self, span: u32, count: u32) -> Result<(), ArenaError> {
        let known = self.words_reserved.load(Relaxed).max(FIRST_SPAN);
        let end = span + count;
        if end <= known {
            return Ok(());
        }
        let length = u64::from(end - known) * 8;
        let from = SPAN_WORDS_AT + u64::from(known) * 8;
        self.with_fd(|fd| file::reserve(fd, from, length))?
            .map_err(refused)?;
        self.words_reserved.fetch_max(end, Relaxed);
        Ok(())
    }

    /// Reserves memory for `count` spans from `span` on, so that touching it cannot fail. The
    /// caller has claimed them: nobody gives an extent back of which he has not claimed all, so
    /// a bit that says "reserved" is true.
    ///
    /// Killed between the reservation and the bit: the next one reserves again, which changes
    /// nothing.
    pub fn commit(&self, span: u32, count: u32) -> Result<(), ArenaError> {
        let first = u64::from(span) * SPAN / EXTENT;
        let last = (u64::from(span + count) * SPAN - 1) / EXTENT;
        let missing = (first..=last).find(|extent| {
            let (word, bit) = self.extent_bits(*extent);
            word.load(Acquire) & bit == 0
        });
        match missing {
            Some(first) => self.reserve_extents(first, last + 1),
            None => Ok(()),
        }
    }

    fn reserve_extents(&self, first: u64, end: u64) -> Result<(), ArenaError> {
        let length = (end - first) * EXTENT;
        if let Some(left) = ControlGroups::of_this_process().memory_left() {
            if left < length + CGROUP_RESERVE {
                return Err(ArenaError::NoMemory(format!(
                    "the control group has {left} bytes left and {length} more are needed"
                )));
            }
        }
        self.with_fd(|fd| file::reserve(fd, first * EXTENT, length))?
            .map_err(refused)?;
        for extent in first..end {
            let (word, bit) = self.extent_bits(extent);
            // Release pairs with the Acquire of `is_committed`.
            if word.fetch_or(bit, Release) & bit == 0 {
                self.header().committed.fetch_add(EXTENT, Relaxed);
            }
        }
        Ok(())
    }

    /// Gives an extent's memory back to the kernel. The caller has claimed all its spans.
    ///
    /// Killed between the bit and the hole: the memory stays until it is used again, whose
    /// reservation then changes nothing.
    pub(crate) fn uncommit(&self, extent: u64) -> Result<(), ArenaError> {
        let (word, bit) = self.extent_bits(extent);
        if word.fetch_and(!bit, AcqRel) & bit == 0 {
            return Ok(());
        }
        self.header().committed.fetch_sub(EXTENT, Relaxed);
        crash_point!("heap.uncommitted");
        Ok(self.with_fd(|fd| file::punch(fd, extent * EXTENT, EXTENT))??)
    }

    // ---- the descriptor -----------------------------------------------------------------

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

impl Slot {
    /// Slots whose memory is reserved when the arena is made.
    pub(crate) const FIRST_RESERVED: usize = 64;

    /// Offset of a slot.
    #[must_use]
    pub const fn at(index: u64) -> u64 {
        SLOTS_AT + index * size_of::<Self>() as u64
    }
}

/// Maps the beginning of the file: all of it if that is granted, else the largest window that is.
fn map_first_window(fd: BorrowedFd<'_>, size: u64) -> Result<(u64, NonNull<u8>), ArenaError> {
    let mut window = size::window(size)?;
    loop {
        match map_range_of(fd, 0, window.min(size)) {
            Ok(first) => return Ok((window, first)),
            Err(ArenaError::NoMemory(_)) if window > size::LEAST_WINDOW => {
                window = if window > WINDOW { WINDOW } else { window / 2 };
            }
            Err(error) => return Err(error),
        }
    }
}

fn map_range_of(fd: BorrowedFd<'_>, offset: u64, length: u64) -> Result<NonNull<u8>, ArenaError> {
    map::shared(fd, offset, length as usize).map_err(|error| match error.errno {
        libc_errno::ENOMEM => ArenaError::NoMemory(format!(
            "mapping {length} bytes failed ({error}); is address space limited (ulimit -v)?"
        )),
        _ => ArenaError::System(error),
    })
}

fn nonce_words(nonce: &Nonce) -> [u64; 2] {
    let both = u128::from_le_bytes(*nonce);
    [both as u64, (both >> 64) as u64]
}

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
