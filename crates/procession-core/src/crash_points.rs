//! The names that `PROCESSION_CRASH` understands; a test keeps the list complete.

/// Every `crash_point!` of the crates below and of this one.
pub const CRASH_POINTS: &[&str] = &[
    "attach.claimed",
    "attach.done",
    "attach.locked",
    "attach.pinned",
    "attach.reopened",
    "barrier.away",
    "barrier.broken",
    "barrier.come_again",
    "barrier.marked",
    "barrier.releasing",
    "barrier.resetting",
    "claims.begun",
    "claims.granted",
    "claims.revoked",
    "container.bank_published",
    "container.cleared",
    "container.committed",
    "container.done",
    "container.dropped",
    "container.emptying",
    "container.flipped",
    "container.freed",
    "container.indexed",
    "container.journaled",
    "container.published",
    "container.repairing",
    "container.written",
    "desk.watching",
    "enclosure.entered",
    "enclosure.listed",
    "event.set",
    "event.waiting",
    "eventcount.prepared",
    "eventcount.waking",
    "fork.attached",
    "fork.reserved",
    "fork.shared",
    "heap.claiming",
    "heap.extent_claimed",
    "heap.freed",
    "heap.released",
    "heap.run_claimed",
    "heap.run_tailed",
    "heap.run_tailing",
    "heap.span_claimed",
    "heap.span_formed",
    "heap.tails_freed",
    "heap.taken",
    "heap.uncommitted",
    "ilock.repaired",
    "ilock.taken_over",
    "leave.spans_left",
    "leave.unheld",
    "ledger.added",
    "ledger.block_made",
    "ledger.linked",
    "ledger.published",
    "ledger.removed",
    "lock.acquired",
    "lock.awaited",
    "lock.released",
    "lock.releasing",
    "lock.taken_over",
    "lock.waiting",
    "nested.entered",
    "object.filled",
    "object.published",
    "object.retracted",
    "object.unchained",
    "object.unchaining",
    "passage.boarded",
    "passage.moving",
    "passage.reserved",
    "passage.settled",
    "passage.unboarded",
    "payload.freeing",
    "payload.prepared",
    "queue.acknowledged",
    "queue.bell_armed",
    "queue.bell_rung",
    "queue.block_handed_over",
    "queue.block_retracted",
    "queue.chunk_handed_over",
    "queue.chunk_retracted",
    "queue.claimed",
    "queue.committed",
    "queue.crossed",
    "queue.get_journalled",
    "queue.get_locked",
    "queue.given_back",
    "queue.letter_moved",
    "queue.letter_taken",
    "queue.producer_came",
    "queue.put_journalled",
    "queue.put_locked",
    "queue.recorded",
    "queue.retired",
    "queue.shut",
    "queue.spared",
    "queue.taken_again",
    "queue.taker_buried",
    "queue.unclaimed",
    "queue.unlinked",
    "queue.unlinking",
    "queue.unmaking",
    "ring.committed",
    "ring.taken",
    "ring.written",
    "semaphore.folded",
    "semaphore.folding",
    "semaphore.given",
    "semaphore.returned",
    "semaphore.signalling",
    "semaphore.taken",
    "sweep.blocks_done",
    "sweep.object_done",
    "sweep.slot_cleaned",
    "sweep.tails_done",
    "turn.begun",
    "turn.given_back",
    "turn.taken",
    "turn.tearing",
    "turn.waiting",
    "waiters.asleep",
    "waiters.block_made",
    "waiters.freed",
    "waiters.linked",
    "waiters.marked",
    "waiters.taken",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    fn look_into(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                look_into(&path, found);
                continue;
            }
            let text = std::fs::read_to_string(path).unwrap();
            for part in text.split("crash_point!(\"").skip(1) {
                found.insert(part.split('"').next().unwrap().to_owned());
            }
        }
    }

    #[test]
    fn the_list_is_what_the_sources_say() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut found = BTreeSet::new();
        for name in ["procession-shm", "procession-core"] {
            look_into(&crates.join(name).join("src"), &mut found);
        }
        let listed: BTreeSet<_> = super::CRASH_POINTS
            .iter()
            .map(|name| (*name).to_owned())
            .collect();
        assert_eq!(found, listed);
    }
}
