//! A child that maps the arena by itself: its parent keeps a place for it.
//!
//! ```text
//! parent   1 reserve a slot   2 add the child to the ledger of each object that travels
//! parent   3 hand over the slot's open file and the list of those objects, close its own
//! child    4 map the arena, pin the slot, hold each object once: its luggage
//! child    5 open the handles that it finds, put the luggage down: what it did not open goes
//! ```
//!
//! So the child is a holder before it exists, as a forked one is: its parent may free anything
//! or end at any time after 3. A child that dies on the way is dead like any other: the open
//! file, wherever it was, is closed by then. A parent that gives the child up takes back 2, then 1.

use crate::ledger;
use crate::object::Object;
use procession_shm::local::{Holding, Holdings};
use procession_shm::member::{Member, Reservation};
use procession_shm::{Arena, ArenaError, OwnerId};
use procession_sys::crash_point;
use procession_sys::prim::Ordering::{Relaxed, Release};
use std::collections::BTreeSet;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::Mutex;

/// Open files of places that this process keeps: a child that another thread forks meanwhile
/// closes its copies, or it would keep the slots locked for as long as it lives.
static OPEN: Mutex<Vec<(&'static Arena, RawFd)>> = Mutex::new(Vec::new());

fn with_open(f: impl FnOnce(&mut Vec<(&'static Arena, RawFd)>)) {
    // Never held across a fork: whoever holds it has the interpreter, and so has who forks.
    if let Ok(mut open) = OPEN.try_lock() {
        f(&mut open);
    }
}

/// A forked child's part.
pub(crate) fn forget_in_child() {
    with_open(|open| {
        for (arena, fd) in open.drain(..) {
            arena.close_copy(fd);
        }
    });
}

/// A place in an arena for a child on its way.
#[derive(Debug)]
pub struct Passage {
    member: Member,
    reservation: Option<Reservation>,
    boarded: BTreeSet<(u64, u64)>,
}

impl Passage {
    /// Reserves a place in the arena of `member`.
    pub fn reserve(member: Member) -> Result<Self, ArenaError> {
        let reservation = member.arena.reserve()?;
        let fd = reservation.file().as_raw_fd();
        with_open(|open| open.push((member.arena, fd)));
        crash_point!("passage.reserved");
        Ok(Self {
            member,
            reservation: Some(reservation),
            boarded: BTreeSet::new(),
        })
    }

    /// The arena of this place.
    #[must_use]
    pub fn arena(&self) -> &'static Arena {
        self.member.arena
    }

    /// Makes the child a holder of an object that this process holds.
    pub fn board(&mut self, offset: u64, serial: u64) -> Result<(), ArenaError> {
        let Some(reservation) = &self.reservation else {
            return Err(gone());
        };
        if self.boarded.contains(&(offset, serial)) {
            return Ok(());
        }
        let object = Object::find(self.member.arena, offset, serial)?;
        ledger::add(self.member, &object, reservation.owner)?;
        self.boarded.insert((offset, serial));
        crash_point!("passage.boarded");
        Ok(())
    }

    /// The open file that the child must be given.
    #[must_use]
    pub fn descriptor(&self) -> Option<RawFd> {
        Some(self.reservation.as_ref()?.file().as_raw_fd())
    }

    /// What the child must know: who it is, and what it holds.
    #[must_use]
    pub fn manifest(&self) -> Vec<u8> {
        let owner = self
            .reservation
            .as_ref()
            .map_or(0, |kept| kept.owner.bits());
        let mut bytes = u64::from(owner).to_le_bytes().to_vec();
        for (offset, serial) in &self.boarded {
            bytes.extend(offset.to_le_bytes());
            bytes.extend(serial.to_le_bytes());
        }
        bytes
    }

    /// The child will be the process of that pid, which waits for what it is given.
    pub fn announce(&self, pid: u32) {
        if let Some(reservation) = &self.reservation {
            self.member.arena.announce(reservation, pid);
        }
    }

    /// The child has copies of everything: from now on its own life keeps the slot.
    pub fn handed_over(&mut self) {
        if let Some(kept) = self.close() {
            self.member.local.private().children.push(kept);
        }
    }

    /// There will be no child: takes everything back, unless it was handed over. Killed in it:
    /// a child that died before its first instruction.
    pub fn abandon(&mut self) {
        // A forked copy of this place is not a place.
        let is_ours = self
            .member
            .arena
            .known_member()
            .is_some_and(|now| now.local.owner == self.member.local.owner);
        let Some(reservation) = self.reservation.as_ref().filter(|_| is_ours) else {
            return std::mem::forget(self.reservation.take());
        };
        let owner = reservation.owner;
        for (offset, serial) in std::mem::take(&mut self.boarded) {
            if let Ok(object) = Object::find(self.member.arena, offset, serial) {
                if ledger::remove(self.member, &object, owner) {
                    object.destroy(self.member);
                }
            }
            crash_point!("passage.unboarded");
        }
        leave(self.member.arena, owner);
        let _ = self.close();
    }

    fn close(&mut self) -> Option<OwnerId> {
        let reservation = self.reservation.take()?;
        let fd = reservation.file().as_raw_fd();
        with_open(|open| open.retain(|(_, kept)| *kept != fd));
        Some(reservation.owner)
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// What a child was made a holder of, until it has opened the handles that it was sent.
#[derive(Debug)]
pub struct Luggage {
    member: Member,
    objects: Vec<Object>,
}

impl Luggage {
    /// The arena that this process has come into.
    #[must_use]
    pub fn arena(&self) -> &'static Arena {
        self.member.arena
    }

    /// Gives up what came along and was not opened.
    pub fn put_down(&mut self) {
        for object in std::mem::take(&mut self.objects) {
            object.drop_handle(self.member);
        }
    }
}

/// The child's part: becomes the member that `manifest` names, through its slot's open file.
pub fn embark(fd: BorrowedFd<'_>, slot: RawFd, manifest: &[u8]) -> Result<Luggage, ArenaError> {
    let arena = Arena::open(fd)?;
    let file = arena.take_descriptor(slot)?;
    let mut words = manifest
        .chunks_exact(8)
        .filter_map(|bytes| Some(u64::from_le_bytes(bytes.try_into().ok()?)));
    let owner = OwnerId::of_word(words.next().unwrap_or_default() as u32);
    if owner.is_none() {
        return Err(gone());
    }
    let mut holdings = Holdings::default();
    while let (Some(offset), Some(serial)) = (words.next(), words.next()) {
        holdings.insert(offset, Holding { serial, handles: 1 });
    }
    let reservation = Reservation::handed_over(owner, file);
    if let Some(member) = arena.known_member() {
        return Ok(move_in(member, &reservation, &holdings));
    }
    let objects = holdings
        .iter()
        .filter_map(|(offset, holding)| Object::find(arena, *offset, holding.serial).ok())
        .collect();
    let member = arena.settle(reservation, holdings)?;
    crash_point!("passage.settled");
    Ok(Luggage { member, objects })
}

/// A process that is a member already (forked from one) takes over what was kept for it, and
/// gives the place up.
fn move_in(member: Member, reservation: &Reservation, holdings: &Holdings) -> Luggage {
    let objects = holdings
        .iter()
        .filter_map(|(offset, holding)| {
            let object = Object::open(member, *offset, holding.serial, |_| true).ok()?;
            crash_point!("passage.moving");
            let _ = ledger::remove(member, &object, reservation.owner); // we hold it: it stays
            Some(object)
        })
        .collect();
    leave(member.arena, reservation.owner);
    Luggage { member, objects }
}

/// Nothing in the arena names this owner any more: its slot is clean.
fn leave(arena: &Arena, owner: OwnerId) {
    if let Some(slot) = owner.slot().map(|index| arena.slot(index)) {
        slot.left.store(slot.generation.load(Relaxed), Release);
    }
}

fn gone() -> ArenaError {
    ArenaError::Stale("this place in the arena has been given up, or taken".into())
}
