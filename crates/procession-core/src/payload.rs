//! Blocks that are sent: prepared by one process, received by another, never copied between.
//!
//! ```text
//! prepare  ALLOC by me  ->  put: OWNED, the queue's  ->  get: CLAIM by the receiver  ->  free
//! ```
//!
//! Whoever has a block is its only user and may write in it. It dies with its owner.

use crate::enclosures;
use procession_shm::ArenaError;
use procession_shm::block::Block;
use procession_shm::layout::PayloadHeader;
use procession_shm::member::Member;
use procession_shm::span::Purpose;
use procession_sys::crash_point;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::Relaxed as LocalRelaxed;

use procession_sys::prim::Ordering::Relaxed;

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
    header.enclosed.store(0, Relaxed);
    member.local.payloads.fetch_add(1, LocalRelaxed);
    crash_point!("payload.prepared");
    Ok(PreparedBlock(Bytes { block, nbytes }))
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
        let copied = copied.and_then(|()| enclosures::copy_list(member, reference, &copy));
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
        enclosures::free(member, &self.0.block);
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

    pub(crate) fn block(&self) -> &Block {
        &self.0.block
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
            enclosures::free(member, &self.0.block);
        }
        mine
    }

    /// Makes it a block to be sent on without a copy; None when it is not ours.
    pub fn send_on(self, member: Member) -> Option<PreparedBlock> {
        let mine = self.0.block.keep(Purpose::Payload, member.local.owner);
        mine.then_some(PreparedBlock(self.0))
    }
}
