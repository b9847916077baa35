//! Blocks that are sent: prepared by one process, received by another, never copied between.
//!
//! ```text
//! prepare  ALLOC by me  ->  put: OWNED, the queue's  ->  get: CLAIM by the receiver  ->  free
//! ```
//!
//! Whoever has a block is its only user and may write in it. It dies with its owner.
//!
//! A block may name objects, which it keeps wherever it is: each has the block's place in its ledger,
//! as it has those of blobs (`nested.rs`). Entered before the block is sent, struck before it is free:
//! killed in between, the block is of the dead, and a sweep strikes the entry. A sweep settles queues
//! first, so that a block of the dead is no committed message's.

use crate::blob::Named;
use crate::ledger;
use crate::nested;
use crate::object::Object;
use procession_shm::block::Block;
use procession_shm::layout::PayloadHeader;
use procession_shm::member::Member;
use procession_shm::span::Purpose;
use procession_shm::{Arena, ArenaError};
use procession_sys::crash_point;
use procession_sys::prim::AtomicU64;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::Relaxed as LocalRelaxed;

use procession_sys::prim::Ordering::{Acquire, Relaxed, Release};

const HEADER: u64 = size_of::<PayloadHeader>() as u64;

/// The bytes of a block, as this process maps them.
#[derive(Clone, Copy, Debug)]
struct Bytes {
    block: Block,
    nbytes: u64,
}

impl Bytes {
    fn offset(&self) -> u64 {
        self.block.offset + HEADER
    }

    fn address(&self, member: Member) -> Result<NonNull<u8>, ArenaError> {
        member.arena.bytes(self.offset(), self.nbytes)
    }

    fn check(&self, from: u64, length: usize) -> Result<u64, ArenaError> {
        let end = from.checked_add(length as u64);
        if end.is_some_and(|end| end <= self.nbytes) {
            Ok(self.offset() + from)
        } else {
            Err(ArenaError::Stale(format!(
                "{length} bytes at {from} of a block of {}",
                self.nbytes
            )))
        }
    }
}

/// A block that this process fills: ALLOC by us until it is put or discarded.
#[derive(Clone, Copy, Debug)]
#[must_use = "put it, or discard it"]
pub struct PreparedBlock(Bytes);

/// A block that this process has received: CLAIM by us until it is freed.
#[derive(Clone, Copy, Debug)]
#[must_use = "free it"]
pub struct ClaimedBlock(Bytes);

/// Takes memory for `nbytes` to be sent. 64-byte aligned, of undefined content.
pub fn prepare(member: Member, nbytes: u64) -> Result<PreparedBlock, ArenaError> {
    let block = member.allocate(HEADER.saturating_add(nbytes), Purpose::Payload)?;
    let header: &PayloadHeader = member.arena.at(block.offset)?;
    header.parent.store(0, Relaxed);
    header.parent_serial.store(0, Relaxed);
    header.nbytes.store(nbytes, Relaxed);
    header.names.store(0, Relaxed);
    member.local.payloads.fetch_add(1, LocalRelaxed);
    crash_point!("payload.prepared");
    Ok(PreparedBlock(Bytes { block, nbytes }))
}

/// The same, and it keeps these objects, all of which the caller holds.
pub fn prepare_naming(
    member: Member,
    nbytes: u64,
    names: &[Named],
) -> Result<PreparedBlock, ArenaError> {
    let length = nbytes.next_multiple_of(8);
    let block = prepare(member, length + names.len() as u64 * 16)?;
    let entered = enter(member, &block.0.block, length, names);
    entered.inspect_err(|_| block.discard(member))?;
    Ok(PreparedBlock(Bytes {
        nbytes,
        block: block.0.block,
    }))
}

fn enter(member: Member, block: &Block, length: u64, names: &[Named]) -> Result<(), ArenaError> {
    let header: &PayloadHeader = member.arena.at(block.offset)?;
    header.nbytes.store(length, Relaxed);
    let at = block.offset + HEADER + length;
    let words: &[AtomicU64] = member.arena.slice(at, names.len() as u64 * 2)?;
    for (pair, (offset, serial)) in words.chunks_exact(2).zip(names) {
        pair[0].store(*offset, Relaxed);
        pair[1].store(*serial, Relaxed);
    }
    // Release pairs with the Acquire in `names`: whoever sees their number sees them.
    header.names.store(names.len() as u64, Release);
    for (offset, serial) in names {
        let object = Object::find(member.arena, *offset, *serial)?;
        ledger::add_blob(member, &object, block.offset)?;
        crash_point!("payload.named");
    }
    Ok(())
}

/// The objects that a block names.
pub(crate) fn names<'a>(arena: &'a Arena, block: &Block) -> impl Iterator<Item = Named> + use<'a> {
    named_words(arena, block)
        .unwrap_or_default()
        .chunks_exact(2)
        .map(|pair| (pair[0].load(Relaxed), pair[1].load(Relaxed)))
}

fn named_words(arena: &Arena, block: &Block) -> Option<&'static [AtomicU64]> {
    let header: &PayloadHeader = arena.at(block.offset).ok()?;
    // Acquire pairs with the Release in `enter`.
    let count = header.names.load(Acquire);
    let length = header.nbytes.load(Relaxed);
    if count == 0 || length % 8 != 0 {
        return None;
    }
    let bytes = count.checked_mul(16)?.checked_add(HEADER)?;
    let fits = bytes.checked_add(length)? <= block.size;
    let at = block.offset + HEADER + length;
    fits.then(|| arena.slice(at, count * 2).ok()).flatten()
}

/// Strikes a block that is ours from the ledgers of what it names; what nobody else holds is added to
/// `gone`: ours to destroy, when nothing is locked.
pub(crate) fn let_go_of(member: Member, block: &Block, gone: &mut Vec<Object>) {
    for (offset, serial) in names(member.arena, block) {
        if let Ok(object) = Object::find(member.arena, offset, serial) {
            if ledger::remove_blob(member, &object, block.offset) {
                gone.push(object);
            }
        }
    }
}

/// Frees a block that is ours, and what only it kept.
fn free(member: Member, block: &Block) {
    let mut gone = Vec::new();
    let_go_of(member, block, &mut gone);
    member.free(block);
    nested::destroy(member, gone);
}

impl PreparedBlock {
    /// Bytes that were asked for.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.nbytes
    }

    /// Whether it is of no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.nbytes == 0
    }

    /// Offset of the first byte in the arena.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.0.offset()
    }

    /// Where this process maps its bytes: `len` of them, for ever mapped, ours until it is put.
    pub fn address(&self, member: Member) -> Result<NonNull<u8>, ArenaError> {
        self.0.address(member)
    }

    /// Copies `bytes` in, `from` bytes from its beginning.
    pub fn write(&self, member: Member, from: u64, bytes: &[u8]) -> Result<(), ArenaError> {
        let at = self.0.check(from, bytes.len())?;
        member.arena.write(at, bytes)
    }

    /// A copy of a block that stays a queue's for as long as this takes.
    pub(crate) fn copy_of(member: Member, reference: u64) -> Result<Self, ArenaError> {
        let header: &PayloadHeader = member.arena.at(reference)?;
        let copy = prepare(member, header.nbytes.load(Relaxed))?;
        let copied = member
            .arena
            .copy(reference + HEADER, copy.offset(), copy.len());
        copied.inspect_err(|_| copy.discard(member))?;
        Ok(copy)
    }

    /// Makes it a received one: a copy of what stays the queue's.
    pub(crate) fn receive(self, member: Member) -> ClaimedBlock {
        let _ = self.0.block.receive(Purpose::Payload, member.local.owner);
        ClaimedBlock(self.0)
    }

    /// Gives the memory back unsent.
    pub fn discard(self, member: Member) {
        member.local.payloads.fetch_sub(1, LocalRelaxed);
        free(member, &self.0.block);
    }

    /// Names the queue that is about to have it, for sweepers.
    pub(crate) fn address_to(
        &self,
        member: Member,
        parent: u64,
        serial: u64,
    ) -> Result<(), ArenaError> {
        let header: &PayloadHeader = member.arena.at(self.0.block.offset)?;
        header.parent.store(parent, Relaxed);
        header.parent_serial.store(serial, Relaxed);
        Ok(())
    }

    /// As it stands in a message.
    pub(crate) fn reference(&self) -> u64 {
        self.0.block.offset
    }

    /// It has been put.
    pub(crate) fn is_sent(member: Member, count: usize) {
        member.local.payloads.fetch_sub(count as u64, LocalRelaxed);
    }
}

impl ClaimedBlock {
    /// The block of a message that this process has just taken.
    pub(crate) fn taken(member: Member, reference: u64) -> Result<Self, ArenaError> {
        let block = member.arena.block_at(reference)?;
        let header: &PayloadHeader = member.arena.at(reference)?;
        let nbytes = header.nbytes.load(Relaxed).min(block.size - HEADER);
        member.local.payloads.fetch_add(1, LocalRelaxed);
        Ok(Self(Bytes { block, nbytes }))
    }

    /// Bytes that were sent.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.nbytes
    }

    /// Whether it is of no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.nbytes == 0
    }

    /// Offset of the first byte in the arena.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.0.offset()
    }

    /// Where this process maps its bytes: `len` of them, for ever mapped, ours until it is freed.
    pub fn address(&self, member: Member) -> Result<NonNull<u8>, ArenaError> {
        self.0.address(member)
    }

    /// Copies bytes out, `from` bytes from its beginning.
    pub fn read(&self, member: Member, from: u64, into: &mut [u8]) -> Result<(), ArenaError> {
        let at = self.0.check(from, into.len())?;
        member.arena.read(at, into)
    }

    /// Copies `bytes` in, `from` bytes from its beginning.
    pub fn write(&self, member: Member, from: u64, bytes: &[u8]) -> Result<(), ArenaError> {
        let at = self.0.check(from, bytes.len())?;
        member.arena.write(at, bytes)
    }

    /// Gives the memory back; false when it is not ours: freed before, or received by the process
    /// that forked this one.
    pub fn free(&self, member: Member) -> bool {
        let mine = self.0.block.keep(Purpose::Payload, member.local.owner);
        if mine {
            crash_point!("payload.freeing");
            member.local.payloads.fetch_sub(1, LocalRelaxed);
            free(member, &self.0.block);
        }
        mine
    }

    /// Makes it a block to be sent on without a copy; None when it is not ours.
    pub fn send_on(self, member: Member) -> Option<PreparedBlock> {
        let mine = self.0.block.keep(Purpose::Payload, member.local.owner);
        mine.then_some(PreparedBlock(self.0))
    }
}
