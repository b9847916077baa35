//! Which of its tasks a worker has begun: one word, which both the worker and its parent change.
//!
//! ```text
//! 63..32  limit: tasks below it may be begun      31..0  begun: tasks below it have been
//! grant    limit + n                  the parent, before it puts the tasks down
//! begin    begun + 1 if it is this task's turn    the worker, before it runs it
//! revoke   limit - n, not below begun             the parent, which gives them to somebody else
//! renew    (next, next + n) if begun = limit      the parent, to a worker that has nothing left
//! ```
//!
//! Each task of a desk has a number that is not used again (modulo 2 to the 32). A task is begun
//! or revoked, never both, for one word says so: whatever the moment at which the worker dies,
//! the tasks below `begun` are those that it has touched, and the others can run elsewhere.

use procession_sys::crash_point;
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::{AcqRel, Acquire, Relaxed};

/// What the word says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claims {
    /// Tasks below it have been begun.
    pub begun: u32,
    /// Tasks below it may be.
    pub limit: u32,
}

impl Claims {
    /// Reads a word.
    #[inline]
    #[must_use]
    pub fn of(word: u64) -> Self {
        Self {
            begun: word as u32,
            limit: (word >> 32) as u32,
        }
    }

    #[inline]
    fn word(self) -> u64 {
        u64::from(self.limit) << 32 | u64::from(self.begun)
    }

    /// How many may still be begun.
    #[inline]
    #[must_use]
    pub fn left(self) -> u32 {
        self.limit.wrapping_sub(self.begun)
    }
}

/// What the word says now.
#[inline]
#[must_use]
pub fn look(word: &AtomicU64) -> Claims {
    Claims::of(word.load(Acquire))
}

fn change(word: &AtomicU64, by: impl Fn(Claims) -> Option<Claims>) -> Option<Claims> {
    let mut seen = word.load(Relaxed);
    loop {
        let next = by(Claims::of(seen))?;
        match word.compare_exchange(seen, next.word(), AcqRel, Relaxed) {
            Ok(_) => return Some(Claims::of(seen)),
            Err(now) => seen = now,
        }
    }
}

/// The worker's: begins task `number`; false when it was given to somebody else.
#[inline]
#[must_use]
pub fn begin(word: &AtomicU64, number: u32) -> bool {
    let begun = change(word, |claims| {
        (claims.begun == number && claims.left() > 0).then(|| Claims {
            begun: number.wrapping_add(1),
            limit: claims.limit,
        })
    });
    crash_point!("claims.begun");
    begun.is_some()
}

/// The parent's: allows `count` tasks from number `next` on. False while the worker still has to
/// come by tasks that were revoked: their numbers lie in between.
#[must_use]
pub fn grant(word: &AtomicU64, next: u32, count: u32) -> bool {
    let granted = change(word, |claims| {
        if claims.limit == next {
            return Some(Claims {
                limit: next.wrapping_add(count),
                ..claims
            });
        }
        (claims.left() == 0).then(|| Claims {
            begun: next,
            limit: next.wrapping_add(count),
        })
    });
    crash_point!("claims.granted");
    granted.is_some()
}

/// The parent's: takes up to `count` of the last tasks back; what was allowed before, and since.
pub fn revoke(word: &AtomicU64, count: u32) -> (u32, u32) {
    let before = change(word, |claims| {
        Some(Claims {
            limit: claims.limit.wrapping_sub(claims.left().min(count)),
            ..claims
        })
    });
    crash_point!("claims.revoked");
    let before = before.unwrap_or(Claims { begun: 0, limit: 0 });
    let taken = before.left().min(count);
    (before.limit, before.limit.wrapping_sub(taken))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Claims, begin, grant, look, revoke};
    use procession_sys::prim::AtomicU64;

    #[test]
    fn a_task_is_begun_or_revoked() {
        let word = AtomicU64::new(0);
        assert!(grant(&word, 0, 4));
        assert!(begin(&word, 0));
        assert_eq!(revoke(&word, 2), (4, 2));
        assert!(begin(&word, 1) && !begin(&word, 2) && !begin(&word, 3));
        assert_eq!(look(&word), Claims { begun: 2, limit: 2 });
    }

    #[test]
    fn numbers_are_not_used_again_while_their_task_may_be_seen() {
        let word = AtomicU64::new(0);
        assert!(grant(&word, 0, 4));
        assert_eq!(revoke(&word, 1), (4, 3));
        assert!(!grant(&word, 4, 1), "2 is still to be begun");
        assert!(begin(&word, 0) && begin(&word, 1) && begin(&word, 2));
        assert!(grant(&word, 4, 1));
        assert!(!begin(&word, 3) && begin(&word, 4));
    }

    #[test]
    fn revoking_stops_at_what_has_begun_and_numbers_come_round() {
        let next = u32::MAX;
        let word = AtomicU64::new(
            Claims {
                begun: next,
                limit: next,
            }
            .word(),
        );
        assert!(grant(&word, next, 3) && begin(&word, next));
        assert_eq!(revoke(&word, 9), (2, 0));
        assert_eq!(look(&word).left(), 0);
    }
}
