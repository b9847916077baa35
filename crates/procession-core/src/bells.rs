//! Doorbells: processes that sleep on many things at once ask to be rung at the next message.
//!
//! ```text
//! arm    1 CAS 0 or RINGING|me -> me   2 SLEEPERS into the consumers' wake word   3 look whether there is one
//! put    1 commit; SLEEPERS?   2 each me -> RINGING|me   3 wake who sleeps, the bit stays   4 ring
//!        5 each RINGING|me -> 0, unless it has been armed again
//! ```
//!
//! So a put without sleepers still tests one word. The ring itself is the caller's. Killed between
//! 1 and 5: the bit and the entries are there still, and the next put rings.

use crate::eventcount;
use crate::queue::Queue;
use procession_shm::OwnerId;
use procession_shm::member::Member;
use procession_sys::crash_point;
use procession_sys::prim::Ordering::{AcqRel, Relaxed};

/// Of an entry: somebody is about to ring.
const RINGING: u32 = 1 << 31;

impl Queue<'_> {
    /// Asks for one ring at the next message; false when too many processes ask already. Look
    /// for a message after this: it may have come before.
    #[must_use]
    pub fn arm_bell(&self, member: Member) -> bool {
        let me = member.local.owner.bits();
        let armed = &self.line.bells.armed;
        let take = |from: u32| {
            let mut entries = armed.iter();
            entries.any(|entry| entry.compare_exchange(from, me, AcqRel, Relaxed).is_ok())
        };
        // Armed before who rings it now has taken it away: it stays.
        let is_armed =
            armed.iter().any(|entry| entry.load(Relaxed) == me) || take(me | RINGING) || take(0);
        if is_armed {
            crash_point!("queue.bell_armed");
            let _ = eventcount::prepare(&self.line.items.word);
        }
        is_armed
    }

    /// Asks no more.
    pub fn disarm_bell(&self, member: Member) {
        self.disarm_bells(|owner| owner == member.local.owner);
    }

    pub(crate) fn disarm_bells(&self, whose: impl Fn(OwnerId) -> bool) {
        for entry in &self.line.bells.armed {
            let armed = entry.load(Relaxed);
            if armed != 0 && whose(OwnerId::of_word(armed)) {
                let _ = entry.compare_exchange(armed, 0, AcqRel, Relaxed);
            }
        }
    }

    /// Every armed doorbell, also those that somebody else is about to ring, and may be killed.
    /// Who has rung them says so: [`Queue::have_rung`].
    pub(crate) fn bells_to_ring(&self) -> Vec<OwnerId> {
        let to_ring = |word: u32| (word != 0).then_some(word | RINGING);
        let armed = self.line.bells.armed.iter();
        armed
            .filter_map(|entry| entry.fetch_update(AcqRel, Relaxed, to_ring).ok())
            .map(OwnerId::of_word)
            .collect()
    }

    /// Step 5: these need not be rung again.
    pub fn have_rung(&self, bells: &[OwnerId]) {
        crash_point!("queue.bell_rung");
        for entry in &self.line.bells.armed {
            let word = entry.load(Relaxed);
            if word & RINGING != 0 && bells.contains(&OwnerId::of_word(word)) {
                let _ = entry.compare_exchange(word, 0, AcqRel, Relaxed);
            }
        }
    }
}
