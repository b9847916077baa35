//! Memory that has been free for a while goes back to the kernel.
//!
//! A fresh page costs thirty times a warm one, so memory is kept for reuse up to a mark, and
//! given back from the top of the arena only when nobody has taken a span for a while.

use crate::layout::{EXTENT, FIRST_SPAN, SPAN};
use crate::member::Member;
use crate::span::{FREE, SpanState};
use procession_sys::clock::now_ns;
use procession_sys::crash_point;
use procession_sys::prim::Ordering::{AcqRel, Relaxed, Release};

/// Free memory that is kept for reuse, in bytes.
pub const KEEP: u64 = 64 << 20;
/// How long no span must have been taken, in nanoseconds.
pub const IDLE_NS: u64 = 2_000_000_000;

const SPANS_OF_EXTENT: u32 = (EXTENT / SPAN) as u32;

impl Member {
    /// Gives back what is free above [`KEEP`], if the arena has been idle; bytes given back.
    pub fn give_back_if_idle(&self) -> u64 {
        let header = self.arena.header();
        let idle = now_ns().saturating_sub(header.busy_at.load(Relaxed)) >= IDLE_NS;
        // Most arenas never grow beyond the mark: one load tells.
        if idle && header.committed.load(Relaxed) > KEEP {
            self.give_back(KEEP)
        } else {
            0
        }
    }

    /// Gives back free memory from the top down until `keep` bytes of it are left.
    pub fn give_back(&self, keep: u64) -> u64 {
        let used = self
            .arena
            .header()
            .spans_used
            .load(Relaxed)
            .min(self.arena.span_limit());
        let extents = (FIRST_SPAN / SPANS_OF_EXTENT)..used.div_ceil(SPANS_OF_EXTENT);
        let free: Vec<u32> = extents
            .filter(|extent| self.is_free_extent(*extent))
            .collect();
        let surplus = free.len() - ((keep / EXTENT) as usize).min(free.len());
        let given = free
            .iter()
            .rev()
            .take(surplus)
            .filter(|extent| self.punch(**extent));
        given.count() as u64 * EXTENT
    }

    fn is_free_extent(&self, extent: u32) -> bool {
        let first = extent * SPANS_OF_EXTENT;
        self.arena.is_committed(first)
            && (first..first + SPANS_OF_EXTENT)
                .all(|span| self.arena.span_word(span).load(Relaxed) == FREE)
    }

    /// Claims the extent's spans, so that nobody uses them meanwhile, and frees them afterwards.
    /// Who claims them next reserves the memory again, after its claim.
    fn punch(&self, extent: u32) -> bool {
        let claimed = SpanState::Claimed(self.local.owner).word();
        let spans = extent * SPANS_OF_EXTENT..(extent + 1) * SPANS_OF_EXTENT;
        // A sweeper looks no further than this, and the last extent may reach beyond it.
        let used = &self.arena.header().spans_used;
        used.fetch_max(spans.end.min(self.arena.span_limit()), Relaxed);
        let mine: Vec<u32> = spans
            .clone()
            .take_while(|span| {
                let word = self.arena.span_word(*span);
                word.compare_exchange(FREE, claimed, AcqRel, Relaxed)
                    .is_ok()
            })
            .collect();
        crash_point!("heap.extent_claimed");
        let whole = mine.len() == spans.len();
        let given = whole && self.arena.uncommit(u64::from(extent)).is_ok();
        for span in mine {
            self.arena.span_word(span).store(FREE, Release);
        }
        given
    }
}
