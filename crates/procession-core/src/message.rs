//! What is put into a queue and got from it, on which terms, and how that ends.

use crate::acks::Ticket;
use crate::bells::Ringing;
use crate::chunk::Head;
use crate::payload::{ClaimedBlock, PreparedBlock};
use std::ops::Range;

/// Bits of the terms' `mode`.
pub mod mode {
    /// Messages are outstanding until they are acknowledged.
    pub const ACKNOWLEDGING: u32 = 1;
    /// What a dead or leaving consumer did not acknowledge is delivered again.
    pub const REDELIVERING: u32 = 2;
}

/// Bits of the terms' `state`.
pub mod state {
    /// No more messages come.
    pub const SHUT: u32 = 1;
    /// None are given out any more, either.
    pub const IMMEDIATELY: u32 = 2;
}

/// What is put.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The codec's own.
    pub flags: u32,
    /// Up to [`crate::chunk::INLINE_MOST`] bytes that are copied.
    pub inline: &'a [u8],
    /// Up to [`crate::chunk::BLOCKS_MOST`] blocks that are handed over.
    pub blocks: &'a [PreparedBlock],
}

impl<'a> Message<'a> {
    /// A message of bytes alone.
    #[must_use]
    pub fn of(flags: u32, inline: &'a [u8]) -> Self {
        Self {
            flags,
            inline,
            blocks: &[],
        }
    }

    pub(crate) fn head(&self) -> Head {
        Head {
            length: self.inline.len() as u32,
            blocks: self.blocks.len() as u32,
            flags: self.flags,
        }
    }
}

/// How a put ended. The blocks of a message that was not put still are the caller's.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use = "a full queue has not taken the message"]
pub enum Put {
    /// It is in the queue.
    Done,
    /// It is in the queue, and these processes want their doorbell rung, then [`Queue::have_rung`].
    ///
    /// [`Queue::have_rung`]: crate::queue::Queue::have_rung
    Rings(Vec<Ringing>),
    /// There is no room.
    Full,
    /// The queue has been shut.
    Shut,
}

/// How a get ended.
#[derive(Debug)]
#[must_use = "blocks want to be freed"]
pub enum Got {
    /// A message, whose bytes are where the caller wanted them.
    Message {
        /// The codec's own.
        flags: u32,
        /// Now the caller's.
        blocks: Vec<ClaimedBlock>,
        /// How often it has been delivered; 0 in a queue without acknowledgements.
        deliveries: u32,
        /// Which one it is, for who acknowledges it or gives it back.
        ticket: Ticket,
    },
    /// There is nothing.
    Empty,
    /// There is nothing, and nothing will come.
    Shut,
}

/// One of several messages.
#[derive(Debug)]
pub struct Item {
    /// The codec's own.
    pub flags: u32,
    /// Where its bytes are.
    pub bytes: Range<usize>,
    /// Now the caller's.
    pub blocks: Vec<ClaimedBlock>,
    /// How often it has been delivered; 0 in a queue without acknowledgements.
    pub deliveries: u32,
    /// Which one it is, for who acknowledges it or gives it back.
    pub ticket: Ticket,
}

/// What a queue is made for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// Most messages in it; 0 = any number.
    pub maxsize: u64,
    /// [`mode`].
    pub mode: u32,
    /// Producers after whose end the stream ends; 0 = it does not.
    pub producers: u32,
    /// Deliveries after which a message is a dead letter; 0 = never.
    pub max_deliveries: u32,
}
