//! Acknowledging what was taken from a queue, giving it back, and waiting until all is done.

use crate::acks::{Acks, DELIVERING, Entry, LETTER, RETURNED, Ticket};
use crate::bells::Ringing;
use crate::chunk::{self, Chunks, Store};
use crate::eventcount;
use crate::lock::{Waited, Waiting};
use crate::message::{Message, Put, mode, state};
use crate::payload::{ClaimedBlock, PreparedBlock};
use crate::queue::{Queue, free_all, release_all};
use crate::receive::Found;
use procession_shm::member::Member;
use procession_shm::{ArenaError, Liveness, OwnerId};
use procession_sys::futex::Wait;
use procession_sys::prim::Ordering::{Acquire, Relaxed, Release};

/// A message was acknowledged that nobody had taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooMany;

/// How one slice of waiting for the last acknowledgement ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum AllDone {
    /// Everything that was put has been acknowledged.
    Done,
    /// A consumer of that pid (0: unknown) died with messages, and nobody will deliver them again.
    OwnerDied(u32),
    /// Not yet.
    Waited(Waited),
}

impl Queue<'_> {
    /// Runs `f` under the consumers' lock, and frees afterwards what is to be freed.
    fn acknowledging<R>(
        &self,
        member: Member,
        f: impl FnOnce(Acks<'_, Chunks>, &mut Vec<u64>) -> R,
    ) -> R {
        let mut gone = Vec::new();
        let result = self.with_acks(member, &mut gone, f);
        free_all(member, &mut gone);
        result
    }

    fn with_acks<R>(
        &self,
        member: Member,
        gone: &mut Vec<u64>,
        f: impl FnOnce(Acks<'_, Chunks>, &mut Vec<u64>) -> R,
    ) -> R {
        let held = self.lock_consumers(member, gone);
        let store = self.chunks(member.arena);
        let acks = Acks {
            line: self.line,
            store: &store,
        };
        let result = f(acks, gone);
        drop(held);
        result
    }

    pub(crate) fn acknowledges(&self) -> bool {
        self.mode() & mode::ACKNOWLEDGING != 0
    }

    /// Whether what consumers do not acknowledge comes back.
    #[must_use]
    pub fn redelivers(&self) -> bool {
        self.mode() & mode::REDELIVERING != 0
    }

    /// Acknowledges the oldest message that this process has; if it has none, the oldest one that
    /// anybody has. `TooMany` when nobody has any.
    pub fn task_done(&self, member: Member) -> Result<(), TooMany> {
        let me = member.local.owner;
        let found = self.acknowledging(member, |acks, gone| {
            let entry = acks.oldest_of(me).or_else(|| acks.oldest());
            if let Some(entry) = entry {
                acks.finish(&entry, me, gone);
            }
            entry.is_some()
        });
        self.tell_of_done();
        if found { Ok(()) } else { Err(TooMany) }
    }

    /// Acknowledges this very message; false when this process does not have it (any more).
    pub fn acknowledge(&self, member: Member, ticket: Ticket) -> bool {
        let me = member.local.owner;
        let found = self.acknowledging(member, |acks, gone| {
            let entry = acks.find(ticket, me);
            if let Some(entry) = entry {
                acks.finish(&entry, me, gone);
            }
            entry.is_some()
        });
        self.tell_of_done();
        found
    }

    /// Gives this very message back, to be delivered again before all others; None when this
    /// process does not have it (any more) or the queue does not deliver again. Returns whose
    /// doorbells to ring.
    pub fn give_back(&self, member: Member, ticket: Ticket) -> Option<Vec<Ringing>> {
        if !self.redelivers() {
            return None;
        }
        let found = self.acknowledging(member, |acks, _| {
            let entry = acks.find(ticket, member.local.owner);
            if let Some(entry) = entry {
                acks.give_back(&entry);
            }
            entry.is_some()
        });
        found.then(|| self.tell_of_returned(1))
    }

    /// Gives back what this process has taken and not delivered to its caller, and rings for it.
    pub(crate) fn give_back_undelivered(
        &self,
        member: Member,
        tickets: impl Iterator<Item = Ticket>,
    ) {
        let count = self.acknowledging(member, |acks, _| {
            let entries = tickets.filter_map(|ticket| acks.find(ticket, member.local.owner));
            entries.map(|entry| acks.give_back(&entry)).count() as u32
        });
        let _ = self.ring(member.arena, &self.tell_of_returned(count));
    }

    fn tell_of_done(&self) {
        if self.unfinished_now() == 0 {
            eventcount::wake(&self.line.acks.wake, u32::MAX >> 1);
        }
        if self.is_shut() {
            // The end of the stream waits for the last acknowledgement.
            self.wake_sleeping_consumers(u32::MAX >> 1);
        }
    }

    fn tell_of_returned(&self, count: u32) -> Vec<Ringing> {
        if count == 0 {
            Vec::new()
        } else {
            self.wake_consumers(count as usize)
        }
    }

    fn unfinished_now(&self) -> u64 {
        // `done` first: what is put meanwhile is unfinished.
        let done = self.line.acks.done.load(Acquire);
        self.put_seq().saturating_sub(done)
    }

    /// Messages that were put and not acknowledged.
    #[must_use]
    pub fn unfinished(&self, member: Member) -> u64 {
        let holder = OwnerId::of_word(self.line.consumers.lock.load(Relaxed));
        if !holder.is_none() {
            // Somebody is at it, perhaps dead: the lock repairs.
            self.acknowledging(member, |_, _| ());
        }
        self.unfinished_now()
    }

    /// Messages that were taken and not acknowledged, with how many of them this process has.
    #[must_use]
    pub fn outstanding(&self, member: Member) -> (u64, u64) {
        let me = Some(member.local.owner);
        self.acknowledging(member, |acks, _| {
            acks.outstanding().fold((0, 0), |(all, mine), entry| {
                (all + 1, mine + u64::from(entry.owner() == me))
            })
        })
    }

    /// Whether messages that will be delivered again, perhaps, are with other processes.
    pub(crate) fn waits_for_others(&self, member: Member) -> bool {
        let me = member.local.owner;
        self.acknowledging(member, |acks, _| {
            acks.outstanding().any(|entry| {
                entry.taker() == RETURNED || entry.owner().is_some_and(|owner| owner != me)
            })
        })
    }

    /// Whether a consumer died with messages that nobody will deliver again: its pid (0: unknown).
    #[must_use]
    pub fn dead_taker(&self, member: Member) -> Option<u32> {
        if self.redelivers() {
            return None;
        }
        self.acknowledging(member, |acks, _| {
            let arena = member.arena;
            acks.bury(|owner| arena.is_dead(owner), |owner| arena.pid_of(owner));
            let dead = Some(OwnerId::DECEASED);
            acks.outstanding()
                .any(|entry| entry.owner() == dead)
                .then(|| self.line.acks.last_dead_pid.load(Relaxed))
        })
    }

    /// Takes back what dead consumers did not acknowledge; how many messages.
    pub(crate) fn take_back_from_dead(&self, member: Member) -> u32 {
        let arena = member.arena;
        self.acknowledging(member, |acks, _| {
            acks.bury(|owner| arena.is_dead(owner), |owner| arena.pid_of(owner))
        })
    }

    /// Takes back what `is_gone` has, under the object's lock.
    pub(crate) fn bury_takers(
        &self,
        member: Member,
        is_gone: impl Fn(OwnerId) -> bool,
        pid: impl Fn(OwnerId) -> u32,
    ) {
        if self.acknowledges() {
            let mut gone = Vec::new();
            let count = self.with_acks(member, &mut gone, |acks, _| acks.bury(is_gone, pid));
            release_all(member, &mut gone);
            if count != 0 {
                self.wake_sleeping_consumers(count);
            }
            eventcount::wake(&self.line.acks.wake, u32::MAX >> 1);
        }
    }

    /// Waits for one slice at most until everything is acknowledged. It is never `Done` for
    /// messages that nobody finished.
    pub fn wait_all_done(&self, member: Member, waiting: &Waiting) -> AllDone {
        let end = waiting.slice_end();
        let word = &self.line.acks.wake;
        let token = eventcount::prepare(word);
        self.finish_dropping(member);
        if self.unfinished(member) == 0 {
            return AllDone::Done;
        }
        if let Some(pid) = self.dead_taker(member) {
            return AllDone::OwnerDied(pid);
        }
        match eventcount::sleep(word, token, end) {
            Wait::TimedOut if waiting.is_over() => AllDone::Waited(Waited::TimedOut),
            _ => AllDone::Waited(Waited::Slice),
        }
    }

    /// Under the consumers' lock: the `count` messages that were taken last are dropped,
    /// and those that came back: they count as done.
    pub(crate) fn acknowledge_dropped(&self, member: Member, count: usize, gone: &mut Vec<u64>) {
        if !self.acknowledges() {
            return;
        }
        let store = self.chunks(member.arena);
        let acks = Acks {
            line: self.line,
            store: &store,
        };
        let open: Vec<Entry<'_>> = acks.outstanding().collect();
        let (before, dropped) = open.split_at(open.len().saturating_sub(count));
        let returned = before.iter().filter(|entry| entry.taker() == RETURNED);
        for entry in returned.chain(dropped) {
            acks.finish(entry, member.local.owner, gone);
        }
    }

    // ---- delivering again ---------------------------------------------------------------

    /// The blocks of a message that this process has just taken and that stay the queue's: copies,
    /// made outside the locks. On an error the message goes back.
    pub(crate) fn copies(
        &self,
        member: Member,
        ticket: Ticket,
        originals: &[u64],
    ) -> Result<Vec<ClaimedBlock>, ArenaError> {
        let copied = copy_all(member, originals);
        let me = member.local.owner;
        let word = self.acknowledging(member, |acks, _| {
            let entry = acks.find(ticket, me);
            if let Some(entry) = entry {
                if copied.is_ok() {
                    let word = entry.word.load(Relaxed) & !u64::from(DELIVERING);
                    entry.word.store(word, Release);
                } else {
                    acks.give_back(&entry);
                }
            }
            entry.is_some()
        });
        debug_assert!(word, "nobody acknowledges what is being delivered");
        if copied.is_err() {
            let _ = self.ring(member.arena, &self.tell_of_returned(1));
        }
        let copied = copied?;
        Ok(copied
            .into_iter()
            .map(|block| block.receive(member))
            .collect())
    }

    /// Messages that were delivered too often and have not been moved yet.
    #[must_use]
    pub fn letters(&self) -> u32 {
        self.line.acks.letters.load(Relaxed)
    }

    /// Moves messages that were delivered too often to another queue, oldest first, until it is
    /// full; how many, and whose doorbells there to ring.
    ///
    /// Killed between the put there and the acknowledgement here, the message is moved again: it
    /// may then be twice in the other queue, and is never lost.
    pub fn move_letters(
        &self,
        member: Member,
        to: Queue<'_>,
    ) -> Result<(usize, Vec<Ringing>), ArenaError> {
        let me = member.local.owner;
        let (mut moved, mut bells) = (0, Vec::new());
        while self.letters() != 0 {
            let mut bytes = Vec::new();
            let taken = self.acknowledging(member, |acks, _| {
                let entry = acks.first_that_is(LETTER)?;
                let ticket = read(&acks, &entry, &mut bytes)?;
                acks.take_letter(&entry, me);
                let originals: Vec<u64> =
                    chunk::blocks(acks.store, entry.place, entry.head, self.words()).collect();
                Some((ticket, entry.head.flags, originals))
            });
            let Some((ticket, flags, originals)) = taken else {
                break;
            };
            let copied = copy_all(member, &originals);
            let put = copied.and_then(|blocks| {
                let message = Message {
                    flags,
                    inline: &bytes,
                    blocks: &blocks,
                };
                let put = to.try_put(member, message);
                if !matches!(put, Ok(Put::Done | Put::Rings(_))) {
                    for block in &blocks {
                        block.discard(member);
                    }
                }
                put
            });
            let is_moved = matches!(put, Ok(Put::Done | Put::Rings(_)));
            procession_sys::crash_point!("queue.letter_moved");
            self.acknowledging(member, |acks, gone| {
                if let Some(entry) = acks.find(ticket, me) {
                    if is_moved {
                        acks.finish(&entry, me, gone);
                    } else {
                        acks.give_back(&entry);
                    }
                }
            });
            self.tell_of_done();
            match put? {
                Put::Rings(owners) => bells.extend(owners),
                Put::Done => {}
                Put::Full | Put::Shut => break,
            }
            moved += 1;
        }
        Ok((moved, bells))
    }

    /// A message that came back, if there is one.
    pub(crate) fn take_returned(
        &self,
        acks: &Acks<'_, Chunks>,
        me: OwnerId,
        into: &mut Vec<u8>,
        originals: &mut Vec<u64>,
    ) -> Option<Found> {
        if self.line.acks.returned.load(Relaxed) == 0
            || self.line.terms.state.load(Acquire) & state::IMMEDIATELY != 0
        {
            return None;
        }
        let entry = acks.first_that_is(RETURNED)?;
        let ticket = read(acks, &entry, into)?;
        originals.extend(chunk::blocks(
            acks.store,
            entry.place,
            entry.head,
            self.words(),
        ));
        acks.take_again(&entry, me);
        Some(Found {
            flags: entry.head.flags,
            deliveries: entry.deliveries(),
            ticket,
        })
    }
}

/// Appends a message's bytes; its ticket.
fn read(acks: &Acks<'_, Chunks>, entry: &Entry<'_>, into: &mut Vec<u8>) -> Option<Ticket> {
    let (place, head) = (entry.place, entry.head);
    let seq = acks.store.header(place.chunk).ok()?.seq.load(Relaxed);
    let at = place.pos + head.bytes_at(3);
    acks.store
        .append_to(place.chunk, at, head.length as usize, into)
        .ok()?;
    Some(Ticket::of(chunk::Place { seq, ..place }))
}

fn copy_all(member: Member, originals: &[u64]) -> Result<Vec<PreparedBlock>, ArenaError> {
    let mut copies = Vec::with_capacity(originals.len());
    for original in originals {
        match PreparedBlock::copy_of(member, *original) {
            Ok(copy) => copies.push(copy),
            Err(error) => {
                for copy in &copies {
                    copy.discard(member);
                }
                return Err(error);
            }
        }
    }
    Ok(copies)
}
