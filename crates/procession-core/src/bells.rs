//! Doorbells: processes that sleep on many things at once ask to be rung at the next message.
//!
//! ```text
//! arm    1 CAS 0 or RINGING|me -> me   2 SLEEPERS into the consumers' wake word   3 look whether there is one
//! put    1 commit; SLEEPERS?   2 each me -> RINGING|me   3 wake who sleeps, the bit stays   4 ring
//!        5 each RINGING|me -> 0, unless it has been armed again
//! ```
//!
//! So a put without sleepers still tests one word. Killed between 1 and 5: the bit and the entries are
//! there still, and the next put rings, or whoever sweeps after the death (`Queue::ring_overdue`).

use crate::eventcount;
use crate::queue::Queue;
use procession_shm::member::Member;
use procession_shm::{Arena, OwnerId};
use procession_sys::crash_point;
use procession_sys::doorbell;
use procession_sys::prim::AtomicU32;
use procession_sys::prim::Ordering::{AcqRel, Relaxed};

/// Of an entry: somebody is about to ring.
const RINGING: u32 = 1 << 31;

/// Who wants to be rung, of a queue whose consumers sleep on `wake`.
#[derive(Clone, Copy, Debug)]
pub struct Bells<'a> {
    /// Owners, each with or without RINGING; 0 = free.
    pub armed: &'a [AtomicU32],
    /// The consumers' wake word.
    pub wake: &'a AtomicU32,
}

impl Bells<'_> {
    /// Asks for one ring at the next message; false when too many ask already. Look for a message
    /// after this: it may have come before.
    #[must_use]
    pub fn arm(&self, owner: OwnerId) -> bool {
        let me = owner.bits();
        let take = |from: u32| {
            let mut entries = self.armed.iter();
            entries.any(|entry| entry.compare_exchange(from, me, AcqRel, Relaxed).is_ok())
        };
        // Armed before who rings it now has taken it away: it stays.
        let is_armed = self.armed.iter().any(|entry| entry.load(Relaxed) == me)
            || take(me | RINGING)
            || take(0);
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
            if armed != 0 && whose(OwnerId::of_word(armed)) {
                let _ = entry.compare_exchange(armed, 0, AcqRel, Relaxed);
            }
        }
    }

    /// Every armed doorbell, also those that somebody else is about to ring, and may be killed.
    /// Who has rung them says so: [`Bells::have_rung`].
    #[must_use]
    pub fn to_ring(&self) -> Vec<OwnerId> {
        let to_ring = |word: u32| (word != 0).then_some(word | RINGING);
        self.armed
            .iter()
            .filter_map(|entry| entry.fetch_update(AcqRel, Relaxed, to_ring).ok())
            .map(OwnerId::of_word)
            .collect()
    }

    /// Step 5: these need not be rung again.
    pub fn have_rung(&self, bells: &[OwnerId]) {
        crash_point!("queue.bell_rung");
        for entry in self.armed {
            let word = entry.load(Relaxed);
            if word & RINGING != 0 && bells.contains(&OwnerId::of_word(word)) {
                let _ = entry.compare_exchange(word, 0, AcqRel, Relaxed);
            }
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

    pub(crate) fn bells_to_ring(&self) -> Vec<OwnerId> {
        self.bells().to_ring()
    }

    /// These need not be rung again: see [`Bells::have_rung`].
    pub fn have_rung(&self, bells: &[OwnerId]) {
        self.bells().have_rung(bells);
    }

    /// The name of the socket by which `owner` hears of this queue.
    #[must_use]
    pub fn bell_name(&self, arena: &Arena, owner: OwnerId) -> String {
        let nonce = u128::from_le_bytes(*arena.nonce());
        let serial = self.object.serial;
        format!("procession.{nonce:032x}.{:x}.{serial:x}", owner.bits())
    }

    /// Rings bells. Whose process has ended, or has been rung, hears nothing; nor does who has
    /// moved to another network namespace.
    #[cold]
    pub fn ring(&self, arena: &Arena, bells: &[OwnerId]) {
        let names = bells.iter().map(|owner| self.bell_name(arena, *owner));
        if !bells.is_empty() && doorbell::ring(names) {
            self.have_rung(bells);
        }
    }

    /// Rings where a message is there and somebody asks: what who died meant to do, or what its
    /// death has brought back.
    pub(crate) fn ring_overdue(&self, arena: &Arena) {
        if self.has_item() {
            self.ring(arena, &self.bells_to_ring());
        }
    }
}
