//! Taking messages out of a queue, and what they bring. The steps under the lock are in [`crate::get`].

use crate::acks::{Acks, Ticket};
use crate::eventcount;
use crate::get::{self, Taken, Taking};
use crate::message::{Got, Item, state};
use crate::payload::ClaimedBlock;
use crate::queue::{Queue, free_all};
use procession_shm::ArenaError;
use procession_shm::member::Member;
use procession_sys::crash_point;
use procession_sys::prim::Ordering::Relaxed;

/// What a message that was taken is.
pub(crate) struct Found {
    pub(crate) flags: u32,
    pub(crate) deliveries: u32,
    pub(crate) ticket: Ticket,
}

impl Queue<'_> {
    /// Takes the next message; its bytes replace what is in `into`.
    pub fn try_get(&self, member: Member, into: &mut Vec<u8>) -> Result<Got, ArenaError> {
        into.clear();
        let (mut gone, mut blocks) = (Vec::new(), Vec::new());
        let held = self.lock_consumers(member, &mut gone);
        crash_point!("queue.get_locked");
        // Before the producers' word: what was put before the end is visible.
        let shut = self.state();
        let found = self.next(member, shut, into, &mut blocks, &mut gone);
        drop(held);
        free_all(member, &mut gone);
        let Some(Found {
            flags,
            deliveries,
            ticket,
        }) = found?
        else {
            return Ok(self.nothing(member, shut));
        };
        self.wake_producers(1);
        Ok(Got::Message {
            flags,
            blocks: self.receive(member, ticket, &blocks)?,
            deliveries,
            ticket,
        })
    }

    /// Under the consumers' lock: what came back, or the next message.
    #[inline]
    fn next(
        &self,
        member: Member,
        shut: u32,
        into: &mut Vec<u8>,
        blocks: &mut Vec<u64>,
        gone: &mut Vec<u64>,
    ) -> Result<Option<Found>, ArenaError> {
        let (line, me) = (self.line, member.local.owner);
        let store = &self.chunks(member.arena);
        if self.redelivers() {
            if let Some(found) = self.take_returned(&Acks { line, store }, me, into, blocks) {
                return Ok(Some(found));
            }
        }
        let mut taking = Taking::begin(line, store, me);
        if shut & state::IMMEDIATELY != 0 || !taking.has_more() {
            return Ok(None);
        }
        match taking.take(into, blocks, gone) {
            Ok(taken) => {
                taking.commit(gone);
                Ok(Some(self.found(taken)))
            }
            Err(error) => {
                get::undo(line, store, self.words());
                Err(error)
            }
        }
    }

    fn found(&self, taken: Taken) -> Found {
        Found {
            flags: taken.head.flags,
            deliveries: u32::from(self.acknowledges()),
            ticket: Ticket::of(taken.place),
        }
    }

    /// Takes up to `most` messages; their bytes are appended to `into`, they to `items`. Some is
    /// `Empty` or `Shut`: there was none. Where what is delivered again has to be copied and memory is
    /// short, it takes as many as there is memory for; `NoMemory` when that is none.
    pub fn try_get_many(
        &self,
        member: Member,
        most: usize,
        into: &mut Vec<u8>,
        items: &mut Vec<Item>,
    ) -> Result<Option<Got>, ArenaError> {
        let (mut gone, mut blocks) = (Vec::new(), Vec::new());
        // What each is, where its bytes begin, and where its blocks.
        let mut all: Vec<(Found, usize, usize)> = Vec::with_capacity(most.min(1024));
        let (line, me) = (self.line, member.local.owner);
        let held = self.lock_consumers(member, &mut gone);
        crash_point!("queue.get_locked");
        let shut = self.state();
        let store = &self.chunks(member.arena);
        if self.redelivers() {
            let acks = Acks { line, store };
            while all.len() < most {
                let from = (into.len(), blocks.len());
                match self.take_returned(&acks, me, into, &mut blocks) {
                    Some(found) => all.push((found, from.0, from.1)),
                    None => break,
                }
            }
        }
        let mut outcome = Ok(());
        if shut & state::IMMEDIATELY == 0 {
            let mut taking = Taking::begin(line, store, me);
            while all.len() < most && taking.has_more() {
                let from = (into.len(), blocks.len());
                match taking.take(into, &mut blocks, &mut gone) {
                    Ok(taken) => all.push((self.found(taken), from.0, from.1)),
                    Err(error) => {
                        outcome = Err(error);
                        break;
                    }
                }
            }
            if outcome.is_ok() {
                taking.commit(&mut gone);
            } else {
                get::undo(line, store, self.words());
            }
        }
        drop(held);
        free_all(member, &mut gone);
        outcome?;
        if all.is_empty() {
            return Ok(Some(self.nothing(member, shut)));
        }
        self.wake_producers(all.len());
        let first = items.len();
        for (index, (found, bytes, of_blocks)) in all.iter().enumerate() {
            let next = all.get(index + 1);
            let (end, last) = next.map_or((into.len(), blocks.len()), |next| (next.1, next.2));
            match self.receive(member, found.ticket, &blocks[*of_blocks..last]) {
                Ok(blocks) => items.push(Item {
                    flags: found.flags,
                    bytes: *bytes..end,
                    blocks,
                    deliveries: found.deliveries,
                    ticket: found.ticket,
                }),
                Err(error) if self.redelivers() => {
                    let rest = all[index + 1..].iter().map(|(found, ..)| found.ticket);
                    self.give_back_undelivered(member, rest);
                    if items.len() == first {
                        return Err(error);
                    }
                    // What has been copied has been delivered; the next call says what is the matter.
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Why there is no message.
    fn nothing(&self, member: Member, shut: u32) -> Got {
        // What others have may come back, and who is waiting then must be here.
        let must_stay = |queue: &Self| {
            queue.redelivers() && shut & state::IMMEDIATELY == 0 && queue.waits_for_others(member)
        };
        self.finish_dropping(member);
        if shut & state::SHUT == 0 || must_stay(self) {
            Got::Empty
        } else {
            Got::Shut
        }
    }

    /// Makes the blocks of a message that was taken the caller's.
    #[inline]
    fn receive(
        &self,
        member: Member,
        ticket: Ticket,
        blocks: &[u64],
    ) -> Result<Vec<ClaimedBlock>, ArenaError> {
        if blocks.is_empty() {
            Ok(Vec::new())
        } else if self.redelivers() {
            self.copies(member, ticket, blocks)
        } else {
            received(member, blocks)
        }
    }

    /// Step 7 of a get.
    #[inline]
    pub(crate) fn wake_producers(&self, count: usize) {
        if self.line.terms.maxsize.load(Relaxed) != 0 {
            eventcount::wake(&self.line.room.word, count as u32);
        }
    }
}

pub(crate) fn received(member: Member, claimed: &[u64]) -> Result<Vec<ClaimedBlock>, ArenaError> {
    claimed
        .iter()
        .map(|block| ClaimedBlock::taken(member, *block))
        .collect()
}
