//! Putting messages into a queue: room, memory, whom to wake. The steps under the lock are in [`crate::put`].

use crate::bells::Ringing;
use crate::chunk::{self, BLOCKS_MOST, INLINE_MOST, Store};
use crate::eventcount;
use crate::message::{Message, Put, state};
use crate::payload::PreparedBlock;
use crate::put::{self, Putting};
use crate::queue::Queue;
use procession_shm::ArenaError;
use procession_shm::block::Block;
use procession_shm::layout::SPAN;
use procession_shm::member::Member;
use procession_sys::clock::coarse_ms;
use procession_sys::crash_point;
use procession_sys::prim::Ordering::SeqCst;
use procession_sys::prim::fence;

/// Why a put stops under the lock.
enum Stop {
    Done,
    Full,
    NoChunk,
}

impl Queue<'_> {
    /// Puts a message, if there is room. `NoMemory`: the arena has none for another chunk.
    #[inline]
    pub fn try_put(&self, member: Member, message: Message<'_>) -> Result<Put, ArenaError> {
        let (_, put) = self.try_put_many(member, &[message])?;
        Ok(put)
    }

    /// Puts as many of the messages as there is room for, in their order, nothing in between;
    /// how many, and what ended it. `Rings` may be of a part: ring, then go on with the rest.
    pub fn try_put_many(
        &self,
        member: Member,
        messages: &[Message<'_>],
    ) -> Result<(usize, Put), ArenaError> {
        for message in messages {
            self.address(member, message)?;
        }
        let chunks = self.chunks(member.arena);
        let stamp = coarse_ms();
        let mut fresh = None;
        let mut done = 0;
        let outcome = loop {
            let held = self.lock_producers(member);
            crash_point!("queue.put_locked");
            if self.state() & state::SHUT != 0 {
                break Ok(Put::Shut);
            }
            let me = member.local.owner;
            let mut putting = Putting::begin(self.line, &chunks, me, self.words(), stamp);
            let stop = fill(&mut putting, messages, &mut done, &mut fresh);
            drop(held);
            match stop {
                Ok(Stop::Done) => break Ok(Put::Done),
                Ok(Stop::Full) => break Ok(Put::Full),
                Ok(Stop::NoChunk) => {}
                Err(error) => break Err(error),
            }
            match chunk::allocate(member, &chunks) {
                Ok(block) => fresh = Some(block),
                // What has been put has been put; the next call says what is the matter.
                Err(_) if done > 0 => break Ok(Put::Full),
                Err(error) => break Err(error),
            }
        };
        if let Some(unused) = fresh {
            member.free(&unused);
        }
        let outcome = outcome?;
        if done == 0 {
            return Ok((0, outcome));
        }
        let sent = messages[..done].iter().map(|message| message.blocks.len());
        PreparedBlock::is_sent(member, sent.sum());
        let bells = self.wake_consumers(done);
        if bells.is_empty() {
            Ok((done, outcome))
        } else {
            Ok((done, Put::Rings(bells)))
        }
    }

    fn address(&self, member: Member, message: &Message<'_>) -> Result<(), ArenaError> {
        if message.inline.len() > INLINE_MOST || message.blocks.len() > BLOCKS_MOST {
            return Err(ArenaError::NoMemory(format!(
                "a message of {} bytes and {} blocks: prepare a block for the bytes",
                message.inline.len(),
                message.blocks.len()
            )));
        }
        for block in message.blocks {
            block.address_to(member, self.object.offset, self.object.serial)?;
        }
        Ok(())
    }

    /// Step 9 of a put.
    #[inline]
    pub(crate) fn wake_consumers(&self, count: usize) -> Vec<Ringing> {
        fence(SeqCst);
        if eventcount::has_sleepers(&self.line.items.word) {
            self.wake_and_ring(count as u32)
        } else {
            Vec::new()
        }
    }
}

fn fill<S: Store>(
    putting: &mut Putting<'_, S>,
    messages: &[Message<'_>],
    done: &mut usize,
    fresh: &mut Option<Block>,
) -> Result<Stop, ArenaError> {
    let mut stop = Stop::Done;
    for message in &messages[*done..] {
        if !putting.has_room() {
            stop = Stop::Full;
            break;
        }
        let head = message.head();
        if !putting.fits(head) {
            match putting.cross(fresh.map(|block| (block.offset / SPAN) as u32))? {
                put::Crossed::No => {
                    stop = Stop::NoChunk;
                    break;
                }
                put::Crossed::IntoSpare => {}
                put::Crossed::IntoFresh => *fresh = None,
            }
        }
        let blocks = message.blocks.iter().map(PreparedBlock::reference);
        putting.write(head, message.inline, blocks)?;
        *done += 1;
    }
    putting.commit();
    Ok(stop)
}
