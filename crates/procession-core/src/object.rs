//! Objects: a block with a header, found by a handle, kept by its holders.
//!
//! A handle is (arena, offset, serial). The serial is never used again, so a handle that
//! outlived its object is told from one of the object that lies there now.

use crate::carriers;
use crate::ilock::{self, Held};
use crate::kinds;
use crate::ledger::{self, Added};
use crate::upkeep;
use procession_shm::block::Block;
use procession_shm::layout::{LockLine, ObjectHeader, Shared};
use procession_shm::local::Holding;
use procession_shm::member::Member;
use procession_shm::span::{BlockState, Purpose};
use procession_shm::{Arena, ArenaError};
use procession_sys::crash_point;
use procession_sys::prim::Ordering::{Acquire, Relaxed, Release};

/// Bytes before an object's body.
pub const BODY: u64 = size_of::<ObjectHeader>() as u64;

/// What an object is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum ObjectKind {
    /// A plain lock.
    Lock = 1,
    /// A recursive lock.
    RLock = 2,
    /// A recursive lock and the scalar that it guards.
    Value = 3,
    /// Bytes.
    Memory = 4,
    /// Permits.
    Semaphore = 5,
    /// A flag to wait for.
    Event = 6,
    /// Waiters to notify.
    Condition = 7,
    /// Parties that wait for each other.
    Barrier = 8,
    /// A recursive lock and the items that it guards.
    Array = 9,
    /// Messages, first in, first out.
    Queue = 10,
    /// Where a pool's worker finds tasks and leaves results.
    Desk = 11,
    /// The turns to send and to receive at the ends of a connection.
    Connection = 20,
    /// A table of keys and values.
    Dict = 16,
    /// A vector of values.
    List = 17,
    /// One number.
    Counter = 18,
    /// Bytes that arrays lie in, which are sent as themselves.
    Buffer = 24,
}

const KINDS: [ObjectKind; 16] = [
    ObjectKind::Lock,
    ObjectKind::RLock,
    ObjectKind::Value,
    ObjectKind::Memory,
    ObjectKind::Semaphore,
    ObjectKind::Event,
    ObjectKind::Condition,
    ObjectKind::Barrier,
    ObjectKind::Array,
    ObjectKind::Queue,
    ObjectKind::Desk,
    ObjectKind::Connection,
    ObjectKind::Dict,
    ObjectKind::List,
    ObjectKind::Counter,
    ObjectKind::Buffer,
];

impl ObjectKind {
    /// Reads a header's kind.
    #[must_use]
    pub fn of(bits: u32) -> Option<Self> {
        KINDS.into_iter().find(|kind| *kind as u32 == bits)
    }

    /// As users call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Lock => "Lock",
            Self::RLock => "RLock",
            Self::Value => "Value",
            Self::Memory => "Memory",
            Self::Semaphore => "Semaphore",
            Self::Event => "Event",
            Self::Condition => "Condition",
            Self::Barrier => "Barrier",
            Self::Array => "Array",
            Self::Queue => "Queue",
            Self::Desk => "Desk",
            Self::Connection => "Connection",
            Self::Dict => "dict",
            Self::List => "list",
            Self::Counter => "counter",
            Self::Buffer => "Buffer",
        }
    }

    /// Whether the body begins with a [`LockLine`].
    #[must_use]
    pub fn has_lock(self) -> bool {
        matches!(
            self,
            Self::Lock | Self::RLock | Self::Value | Self::Array | Self::Dict | Self::List
        )
    }

    /// Whether its body begins as zeros. What is filled anyway is as its memory was left.
    #[must_use]
    pub fn is_zeroed(self) -> bool {
        self != Self::Buffer
    }

    /// Whether it has contents in blocks of their own.
    #[must_use]
    pub fn is_container(self) -> bool {
        matches!(self, Self::Dict | Self::List)
    }
}

/// An object in an arena, as one of its holders sees it. A view: [`Object::drop_handle`] is
/// explicit, because a view may also be a sweeper's.
#[derive(Clone, Copy, Debug)]
pub struct Object {
    /// Where its block begins: the handle's offset.
    pub offset: u64,
    /// Its number.
    pub serial: u64,
    /// Its header.
    pub header: &'static ObjectHeader,
    /// Its block.
    pub block: Block,
}

impl Object {
    /// Makes an object with a body of `nbytes`, zeroed if its kind's are, and one handle, ours. `init`
    /// sees the body before anybody else does.
    ///
    /// Killed before the publication: ALLOC by the dead. After it: held by the dead. Either
    /// way the sweeper frees it.
    pub fn create(
        member: Member,
        kind: ObjectKind,
        nbytes: u64,
        init: impl FnOnce(&Self) -> Result<(), ArenaError>,
    ) -> Result<Self, ArenaError> {
        Self::create_filled(member, kind, nbytes, |object| {
            if kind.is_zeroed() {
                member.arena.zero(object.offset + BODY, nbytes)?;
            }
            init(object)
        })
    }

    /// The same, with a body that is as its memory was left but for what `init` writes.
    pub fn create_filled(
        member: Member,
        kind: ObjectKind,
        nbytes: u64,
        init: impl FnOnce(&Self) -> Result<(), ArenaError>,
    ) -> Result<Self, ArenaError> {
        let me = member.local.owner;
        // What does not fit into 64 bits fits into no arena.
        let block = member.allocate(BODY.saturating_add(nbytes), Purpose::Object)?;
        let made = Self::fill(member, kind, nbytes, block).and_then(|object| {
            init(&object)?;
            Ok(object)
        });
        let object = made.inspect_err(|_| member.free(&block))?;
        crash_point!("object.filled");
        let _ = block.publish(Purpose::Object, me);
        crash_point!("object.published");
        let holding = Holding {
            serial: object.serial,
            handles: 1,
        };
        member
            .local
            .private()
            .holdings
            .insert(object.offset, holding);
        Ok(object)
    }

    fn fill(
        member: Member,
        kind: ObjectKind,
        nbytes: u64,
        block: Block,
    ) -> Result<Self, ArenaError> {
        let header: &ObjectHeader = member.arena.at(block.offset)?;
        let serial = member.next_serial();
        header.chain.store(0, Relaxed);
        header.nbytes.store(nbytes, Relaxed);
        header.kind.store(kind as u32, Relaxed);
        header.lock.store(0, Relaxed);
        header.pins.store(0, Relaxed);
        header.waiters.store(0, Relaxed);
        let me = u64::from(member.local.owner.bits());
        header.holders[0].store(me, Relaxed);
        for entry in &header.holders[1..] {
            entry.store(0, Relaxed);
        }
        // Release pairs with the Acquire in `find`: who sees the serial sees its header.
        header.serial.store(serial, Release);
        Ok(Self {
            offset: block.offset,
            serial,
            header,
            block,
        })
    }

    /// The object behind a handle, one handle more; Stale when it is gone or another kind.
    pub fn open(
        member: Member,
        offset: u64,
        serial: u64,
        may_be: impl Fn(ObjectKind) -> bool,
    ) -> Result<Self, ArenaError> {
        let object = Self::find(member.arena, offset, serial)?;
        if !object.kind().is_some_and(may_be) {
            return Err(ArenaError::Stale(format!(
                "the handle at {offset:#x} is of another type"
            )));
        }
        loop {
            // The private part stays locked across the ledger's change, so that another
            // thread that drops its last handle comes wholly before or wholly after.
            let mut private = member.local.private();
            if let Some(holding) = private.holdings.get_mut(&offset) {
                if holding.serial == serial {
                    holding.handles += 1;
                    return Ok(object);
                }
            }
            match ledger::try_add(member, &object, member.local.owner) {
                Added::Held => {
                    private
                        .holdings
                        .insert(offset, Holding { serial, handles: 1 });
                    return Ok(object);
                }
                Added::Gone => return Err(object.gone()),
                Added::Full => {}
            }
            drop(private);
            ledger::extend(member, &object)?;
        }
    }

    /// The object with this number at this place, without holding it.
    pub fn find(arena: &Arena, offset: u64, serial: u64) -> Result<Self, ArenaError> {
        let object = Self::at(arena, offset)?.ok_or_else(|| gone(offset))?;
        if object.serial == serial {
            Ok(object)
        } else {
            Err(gone(offset))
        }
    }

    /// Whatever object lies at this place; None for a block that is no published object.
    pub fn at(arena: &Arena, offset: u64) -> Result<Option<Self>, ArenaError> {
        let block = arena.block_at(offset)?;
        if block.state() != Some(BlockState::Owned(Purpose::Object)) {
            return Ok(None);
        }
        let header: &ObjectHeader = arena.at(offset)?;
        let serial = header.serial.load(Acquire);
        Ok(Some(Self {
            offset,
            serial,
            header,
            block,
        }))
    }

    /// The Buffer in which these bytes of this process's memory lie, if it holds one around them, and where
    /// in it they begin.
    #[must_use]
    pub fn lending(member: Member, address: usize, nbytes: u64) -> Option<(Self, u64)> {
        let offset = member.arena.offset_of(address)?;
        let block = member.arena.block_around(offset).ok()?;
        let object = Self::at(member.arena, block.offset).ok()??;
        let from = offset.checked_sub(object.offset + BODY)?;
        let end = from.checked_add(nbytes)?;
        (object.kind() == Some(ObjectKind::Buffer)
            && end <= object.header.nbytes.load(Relaxed)
            && object.is_held(member))
        .then_some((object, from))
    }

    /// Whether this very object still is published. Whoever has its lock may rely on the answer.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.block.state() == Some(BlockState::Owned(Purpose::Object))
            && self.header.serial.load(Acquire) == self.serial
    }

    pub(crate) fn gone(&self) -> ArenaError {
        gone(self.offset)
    }

    /// What it is; None for a kind that this version does not know.
    #[must_use]
    pub fn kind(&self) -> Option<ObjectKind> {
        ObjectKind::of(self.header.kind.load(Relaxed))
    }

    /// The layout that its body begins with.
    pub fn body<T: Shared>(&self, arena: &Arena) -> Result<&'static T, ArenaError> {
        arena.at(self.offset + BODY)
    }

    /// The lock that its body begins with.
    pub fn lock_line(&self, arena: &Arena) -> Result<&'static LockLine, ArenaError> {
        self.body(arena)
    }

    /// Locks the object against everybody else; from a dead holder only after repair.
    #[inline]
    pub fn lock(&self, member: Member) -> Held<'static> {
        let word = &self.header.lock;
        ilock::acquire(word, member.local.owner, member.arena, || {
            kinds::repair(member.arena, self);
        })
    }

    /// The same if nobody has it.
    pub(crate) fn try_lock(&self, member: Member) -> Option<Held<'static>> {
        ilock::try_acquire(&self.header.lock, member.local.owner)
    }

    /// The same from the very dead holder that `seen` names; None when the lock has changed hands.
    pub fn lock_from(&self, member: Member, seen: u32) -> Option<Held<'static>> {
        ilock::take_over(&self.header.lock, seen, member.local.owner, || {
            kinds::repair(member.arena, self);
        })
    }

    /// One handle less in this process; the last one of all processes frees the object.
    pub fn drop_handle(&self, member: Member) {
        if self.forget_handle(member) {
            self.destroy(member);
        }
    }

    /// True when this was the last handle of all and the object is ours to free.
    fn forget_handle(&self, member: Member) -> bool {
        let mut private = member.local.private();
        match private.holdings.get_mut(&self.offset) {
            Some(holding) if holding.serial == self.serial && holding.handles > 1 => {
                holding.handles -= 1;
                false
            }
            Some(holding) if holding.serial == self.serial => {
                private.holdings.remove(&self.offset);
                ledger::remove(member, self, member.local.owner)
            }
            _ => false,
        }
    }

    /// All handles of this process at once.
    pub fn drop_all_handles(&self, member: Member) {
        member.local.private().holdings.remove(&self.offset);
        if ledger::remove(member, self, member.local.owner) {
            self.destroy(member);
        }
    }

    /// Frees an object that was retracted by us. Killed in between: the block is ALLOC by the
    /// dead, its ledger blocks name a parent that is no object: the sweeper frees them all.
    /// While we live it leaves the chain to us, which it knows by the serial: zeroed last.
    pub(crate) fn destroy(&self, member: Member) {
        let mut gone = Vec::new();
        self.destroy_alone(member, &mut gone);
        carriers::destroy(member, gone);
    }

    /// The same; what only it held is added to `gone`, for the caller to destroy.
    pub(crate) fn destroy_alone(&self, member: Member, gone: &mut Vec<Self>) {
        crash_point!("object.retracted");
        kinds::unmake(member, self, gone);
        upkeep::destroy(member, self, gone);
        let chained: Vec<Block> = kinds::chained(member.arena, self).collect();
        for block in chained {
            if block.retract(Purpose::Ledger, member.local.owner) {
                crash_point!("object.unchaining");
                member.free(&block);
            }
        }
        crash_point!("object.unchained");
        self.header.serial.store(0, Release);
        member.free(&self.block);
    }

    /// Whether this process holds the object (it may have been inherited by fork).
    #[must_use]
    pub fn is_held(&self, member: Member) -> bool {
        let private = member.local.private();
        private
            .holdings
            .get(&self.offset)
            .is_some_and(|holding| holding.serial == self.serial)
    }
}

fn gone(offset: u64) -> ArenaError {
    ArenaError::Stale(format!("the object at {offset:#x} has been freed"))
}
