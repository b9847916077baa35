//! Doorbells: processes that sleep on many things at once ask to be rung at the next message.
//!
//! ```text
//! entry  [63..32 round: how often it has been armed | 31 RINGING | 29..0 owner, 0 = free]
//!
//! arm    1 CAS 0 or RINGING|me -> me, the next round   2 SLEEPERS into the consumers' wake word
//!        3 look whether there is one
//! put    1 commit; SLEEPERS?   2 each me -> RINGING|me   3 wake who sleeps, the bit stays   4 ring
//!        5 each RINGING|me of the round that was rung -> 0
//! ```
//!
//! So a put without sleepers still tests one word. Killed between 1 and 5: the bit and the entries are
//! there still, and the next put rings, or whoever sweeps after the death (`ring_overdue`). Who is
//! slow between 4 and 5 leaves alone what has been armed again meanwhile, though it is RINGING again:
//! somebody else is to ring that, and may be killed first.

use crate::eventcount;
use crate::queue::Queue;
use procession_shm::member::Member;
use procession_shm::{Arena, OwnerId};
use procession_sys::crash_point;
use procession_sys::doorbell;
use procession_sys::prim::Ordering::{AcqRel, Relaxed, SeqCst};
use procession_sys::prim::{AtomicU32, AtomicU64, fence};

/// Of an entry: somebody is about to ring.
const RINGING: u64 = 1 << 31;
/// The bits of an entry that count its rounds.
const ROUNDS: u64 = !0 << 32;

/// Who wants to be rung, of a queue whose consumers sleep on `wake`.
#[derive(Clone, Copy, Debug)]
pub struct Bells<'a> {
    /// The entries.
    pub armed: &'a [AtomicU64],
    /// The consumers' wake word.
    pub wake: &'a AtomicU32,
}

/// A doorbell that is to be rung, for the round in which it was found armed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ringing {
    place: usize,
    word: u64,
}

impl Ringing {
    /// Whose it is.
    #[must_use]
    pub fn owner(self) -> OwnerId {
        OwnerId::of_word(self.word as u32)
    }
}

impl Bells<'_> {
    /// Asks for one ring at the next message; false when too many ask already. Look for a message
    /// after this: it may have come before.
    #[must_use]
    pub fn arm(&self, owner: OwnerId) -> bool {
        let me = u64::from(owner.bits());
        let take = |from: u64| {
            let next_round = |word: u64| {
                (word & !ROUNDS == from).then_some((word & ROUNDS).wrapping_add(1 << 32) | me)
            };
            let mut entries = self.armed.iter();
            entries.any(|entry| entry.fetch_update(AcqRel, Relaxed, next_round).is_ok())
        };
        let is_mine = |entry: &AtomicU64| entry.load(Relaxed) & !ROUNDS == me;
        // Armed before who rings it now has taken it away: it stays.
        let is_armed = self.armed.iter().any(is_mine) || take(me | RINGING) || take(0);
        if is_armed {
            crash_point!("queue.bell_armed");
            let _ = eventcount::prepare(self.wake);
        }
        is_armed
    }

    /// They ask no more.
    pub fn disarm(&self, whose: impl Fn(OwnerId) -> bool) {
        for entry in self.armed {
            let armed = entry.load(Relaxed);
            let owner = OwnerId::of_word(armed as u32);
            if !owner.is_none() && whose(owner) {
                let _ = entry.compare_exchange(armed, armed & ROUNDS, AcqRel, Relaxed);
            }
        }
    }

    /// Every armed doorbell, also those that somebody else is about to ring, and may be killed.
    /// Who has rung them says so: [`Bells::have_rung`].
    #[must_use]
    pub fn to_ring(&self) -> Vec<Ringing> {
        let to_ring = |word: u64| (word & !ROUNDS != 0).then_some(word | RINGING);
        let entries = self.armed.iter().enumerate();
        entries
            .filter_map(|(place, entry)| {
                // AcqRel also where nothing changes: who arms after this sees our message.
                let armed = entry.fetch_update(AcqRel, Relaxed, to_ring).ok()?;
                let word = armed | RINGING;
                Some(Ringing { place, word })
            })
            .collect()
    }

    /// Wakes those who sleep, after a change that they wait for; whose bells are to be rung.
    #[cold]
    pub fn wake(&self, count: u32) -> Vec<Ringing> {
        // Before the entries: who is armed after this keeps the bit.
        let seen = eventcount::look(self.wake);
        let bells = self.to_ring();
        if bells.is_empty() {
            eventcount::wake_sleepers_since(self.wake, seen, count);
        } else {
            // Until they have been rung the bit shows them to others.
            eventcount::wake_and_stay(self.wake, count);
        }
        bells
    }

    /// Step 5: these need not be rung again, unless they have been armed again.
    pub fn have_rung(&self, bells: &[Ringing]) {
        crash_point!("queue.bell_rung");
        for Ringing { place, word } in bells {
            let _ = self.armed[*place].compare_exchange(*word, word & ROUNDS, AcqRel, Relaxed);
        }
    }
}

impl Queue<'_> {
    fn bells(&self) -> Bells<'_> {
        Bells {
            armed: &self.line.bells.armed,
            wake: &self.line.items.word,
        }
    }

    /// Asks for one ring at the next message: see [`Bells::arm`].
    #[must_use]
    pub fn arm_bell(&self, member: Member) -> bool {
        self.bells().arm(member.local.owner)
    }

    /// Asks no more.
    pub fn disarm_bell(&self, member: Member) {
        self.disarm_bells(|owner| owner == member.local.owner);
    }

    pub(crate) fn disarm_bells(&self, whose: impl Fn(OwnerId) -> bool) {
        self.bells().disarm(whose);
    }

    /// Wakes consumers that sleep, and rings nobody: who is armed stays so.
    pub(crate) fn wake_sleeping_consumers(&self, count: u32) {
        fence(SeqCst);
        if eventcount::has_sleepers(&self.line.items.word) {
            eventcount::wake_and_stay(&self.line.items.word, count);
        }
    }

    pub(crate) fn wake_and_ring(&self, count: u32) -> Vec<Ringing> {
        self.bells().wake(count)
    }

    pub(crate) fn bells_to_ring(&self) -> Vec<Ringing> {
        self.bells().to_ring()
    }

    /// These need not be rung again: see [`Bells::have_rung`].
    pub fn have_rung(&self, bells: &[Ringing]) {
        self.bells().have_rung(bells);
    }

    /// The name of the socket by which `owner` hears of this queue.
    #[must_use]
    pub fn bell_name(&self, arena: &Arena, owner: OwnerId) -> String {
        let nonce = u128::from_le_bytes(*arena.nonce());
        let serial = self.object.serial;
        format!("procession.{nonce:032x}.{:x}.{serial:x}", owner.bits())
    }

    /// Rings bells; false when this process has no descriptor left to do it with: they stay armed, and it
    /// is to be made up for ([`Queue::ring_missed`]). Whose process has ended, or has been rung, hears
    /// nothing; nor does who has moved to another network namespace.
    #[cold]
    #[must_use]
    pub fn ring(&self, arena: &Arena, bells: &[Ringing]) -> bool {
        let names = bells.iter().map(|bell| self.bell_name(arena, bell.owner()));
        let are_rung = bells.is_empty() || doorbell::ring(names);
        if are_rung && !bells.is_empty() {
            self.have_rung(bells);
        }
        are_rung
    }

    /// Rings where a message is there and somebody asks: what who died meant to do, or what its
    /// death has brought back.
    pub(crate) fn ring_overdue(&self, arena: &Arena) {
        if self.has_item() {
            let _ = self.ring(arena, &self.bells_to_ring());
        }
    }

    /// Rings who asks and was not rung, if there still is something to be rung for; false as for
    /// [`Queue::ring`].
    #[must_use]
    pub fn ring_missed(&self, arena: &Arena) -> bool {
        !(self.has_item() || self.is_shut()) || self.ring(arena, &self.bells_to_ring())
    }
}
