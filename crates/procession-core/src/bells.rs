//! Doorbells: processes that sleep on many things at once ask to be rung at the next message.
//!
//! ```text
//! arm    1 CAS 0 -> me   2 SLEEPERS into the consumers' wake word   3 look whether there is one
//! put    commit; SLEEPERS? take all entries (each once), wake who sleeps, ring
//! ```
//!
//! So a put without sleepers still tests one word. The ring itself is the caller's: it is no more
//! than a hint, and who sleeps looks again now and then, because who was to ring may be killed.

use crate::eventcount;
use crate::queue::Queue;
use procession_shm::OwnerId;
use procession_shm::member::Member;
use procession_sys::crash_point;
use procession_sys::prim::Ordering::{AcqRel, Relaxed};

impl Queue<'_> {
    /// Asks for one ring at the next message; false when too many processes ask already. Look
    /// for a message after this: it may have come before.
    #[must_use]
    pub fn arm_bell(&self, member: Member) -> bool {
        let me = member.local.owner.bits();
        let armed = &self.line.bells.armed;
        let is_armed = armed.iter().any(|entry| entry.load(Relaxed) == me)
            || armed
                .iter()
                .any(|entry| entry.compare_exchange(0, me, AcqRel, Relaxed).is_ok());
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

    /// Takes every armed doorbell.
    pub(crate) fn take_bells(&self) -> Vec<OwnerId> {
        let armed = self.line.bells.armed.iter();
        armed
            .filter(|entry| entry.load(Relaxed) != 0)
            .map(|entry| OwnerId::of_word(entry.swap(0, AcqRel)))
            .filter(|owner| !owner.is_none())
            .collect()
    }
}
