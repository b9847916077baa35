//! A survivor, what it holds, and what must hold afterwards.

use crate::queues::Queues;
use crate::shared::Shared;
use crate::victims::{Ended, die_at, spawn, wait};
use crate::{Operation, acquire, party};
use procession_core::lock::SharedLock;
use procession_core::{Object, ObjectKind, fork, fsck, kinds, ledger, sweep};
use procession_shm::layout::{FIRST_SPAN, LockLine};
use procession_shm::local::Holdings;
use procession_shm::member::{Member, Reservation};
use procession_shm::span::{BlockState, Purpose, SpanState};
use procession_shm::{Arena, OwnerId};
use procession_sys::prim::Ordering::Acquire;

/// A survivor and what it holds.
pub(crate) struct World {
    pub(crate) member: Member,
    pub(crate) lock: Object,
    /// Held by the survivor and by `others`, more than fit into the header.
    pub(crate) chained: Object,
    pub(crate) shared: Shared,
    pub(crate) queues: Queues,
    others: Vec<Reservation>,
}

impl World {
    pub(crate) fn new() -> Self {
        // SAFETY: this process has one thread.
        unsafe { std::env::set_var("PROCESSION_ARENA", "64M") };
        // The victims' children become ours when these die.
        // SAFETY: changes an attribute of this process.
        unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
        let arena = Arena::create().unwrap();
        let member = arena.attach(Holdings::default()).unwrap();
        let make = |kind, size| Object::create(member, kind, size, |_| Ok(())).unwrap();
        let lock = make(ObjectKind::Lock, 64);
        let chained = make(ObjectKind::Memory, 100);
        let others: Vec<_> = (0..9).map(|_| arena.reserve().unwrap()).collect();
        for other in &others {
            ledger::add(member, &chained, other.owner).unwrap();
        }
        Self {
            member,
            lock,
            chained,
            shared: Shared::create(member),
            queues: Queues::create(member),
            others,
        }
    }

    fn objects(&self) -> impl Iterator<Item = &Object> {
        [&self.lock, &self.chained]
            .into_iter()
            .chain(self.shared.objects())
            .chain(self.queues.objects())
    }

    pub(crate) fn arena(&self) -> &'static Arena {
        self.member.arena
    }

    pub(crate) fn line(&self) -> &'static LockLine {
        self.lock.lock_line(self.arena()).unwrap()
    }

    fn chain_of(&self, object: &Object) -> usize {
        kinds::chained(self.arena(), object).count()
    }

    /// Everything is as it was, whoever died.
    pub(crate) fn check(&self) {
        self.member.trim();
        let report = fsck::fsck(self.arena()).unwrap();
        assert!(report.inconsistent.is_empty(), "{:?}", report.inconsistent);
        assert!(report.leaked.is_empty(), "{:?}", report.leaked);
        assert_eq!(report.garbage, 0, "{report:?}");
        let enclosed = self.queues.enclosed(self.member);
        assert_eq!(
            report.objects,
            self.objects().count() + enclosed,
            "{report:?}"
        );
        let blocks = self.objects().map(|object| 1 + self.chain_of(object));
        let kept = self.queues.kept(self.member) + enclosed;
        assert_eq!(report.blocks, blocks.sum::<usize>() + kept, "{report:?}");
        self.queues.check(self.member);
        self.member.trim();
        self.shared.check(self.member);
        self.check_holders();
        self.check_spans();
        for index in 0..self.arena().header().slots_used.load(Acquire) as usize {
            let slot = self.arena().slot(index);
            let lives = slot
                .owner(index)
                .is_some_and(|owner| !self.arena().try_is_dead(owner).unwrap());
            assert!(lives || slot.is_clean(), "slot {index} was not swept");
        }
    }

    fn check_holders(&self) {
        let me = self.member.local.owner;
        let mut expected: Vec<OwnerId> = self.others.iter().map(|other| other.owner).collect();
        expected.push(me);
        let mut found: Vec<OwnerId> = ledger::entries(self.arena(), self.chained.header)
            .map(ledger::owner_of)
            .filter(|owner| !owner.is_none())
            .collect();
        let order = |owner: &OwnerId| owner.bits();
        expected.sort_by_key(order);
        found.sort_by_key(order);
        assert_eq!(found, expected, "the holders of the chained object");
        assert_eq!(ledger::holders(self.arena(), self.lock.header), 1);
    }

    fn check_spans(&self) {
        let arena = self.arena();
        let used = arena.header().spans_used.load(Acquire);
        for span in FIRST_SPAN..arena.span_limit() {
            let state = SpanState::of(arena.span_word(span).load(Acquire)).unwrap();
            assert!(
                span < used || state == SpanState::Free,
                "{span} is {state:?}"
            );
            match state {
                // What a clean exit left is for whoever needs that class next.
                // And a chunk is some queue's, or fsck would have said so.
                SpanState::Free
                | SpanState::Class(_, OwnerId::NONE)
                | SpanState::Run(1, BlockState::Owned(Purpose::Chunk)) => {}
                SpanState::Class(_, owner) if owner == self.member.local.owner => {
                    let mut blocks = arena.blocks();
                    let filled = blocks.any(|(block, _)| {
                        block.offset / procession_shm::layout::SPAN == u64::from(span)
                    });
                    assert!(filled, "span {span} is empty and was not given back");
                }
                _ => panic!("span {span} is still {state:?}"),
            }
        }
    }

    /// All structures still serve.
    pub(crate) fn use_everything(&self) {
        let member = self.member;
        let made: Vec<Object> = [64, 3000, 32_000, 150_000]
            .into_iter()
            .map(|size| {
                let kind = ObjectKind::Memory;
                Object::create(member, kind, size, |_| Ok(())).unwrap()
            })
            .collect();
        let more: Vec<Reservation> = (0..30).map(|_| self.arena().reserve().unwrap()).collect();
        for other in &more {
            ledger::add(member, &self.lock, other.owner).unwrap();
        }
        for other in &more {
            assert!(!ledger::remove(member, &self.lock, other.owner));
        }
        for object in made {
            object.drop_handle(member);
        }
        let me = party(member);
        let lock = SharedLock::new(self.line());
        let how = acquire(lock, me, self.arena());
        assert!(how.is_some(), "the lock is stuck");
        lock.release(me).unwrap();
        assert!(lock.try_acquire(me), "nobody holds it any more");
        lock.release(me).unwrap();
        self.shared.use_everything(member);
        self.queues.use_everything(member);
        drop(more);
        // Reservations that end are deaths like any other.
        sweep::sweep(member).unwrap();
    }

    /// The last handles go: nothing at all may be left.
    pub(crate) fn end(self) {
        drop(self.others);
        sweep::sweep(self.member).unwrap();
        self.lock.drop_handle(self.member);
        self.chained.drop_handle(self.member);
        self.shared.drop_handles(self.member);
        self.queues.drop_handles(self.member);
        self.member.trim();
        let report = fsck::fsck(self.member.arena).unwrap();
        let ownerless = |(_, state)| matches!(state, SpanState::Class(_, OwnerId::NONE));
        let kept = self.member.arena.spans().filter(|span| ownerless(*span));
        let spans = report.spans - kept.count();
        let left = (report.objects, report.blocks, spans, report.garbage);
        assert_eq!(left, (0, 0, 0, 0), "{report:?}");
        assert!(report.leaked.is_empty() && report.inconsistent.is_empty());
    }

    /// Forks a victim that is somebody of its own.
    pub(crate) fn victim(&self, point: &str, count: u32, operation: Operation) -> Ended {
        let pid = spawn(|| {
            let arena = self.arena();
            if operation.attaches {
                die_at(point, count);
                let member = fork::member(arena).unwrap();
                return (operation.run)(self, member);
            }
            let member = arena.attach(Holdings::default()).unwrap();
            if let Some(prepare) = operation.prepare {
                prepare(self, member);
            }
            die_at(point, count);
            (operation.run)(self, member)
        });
        wait(pid)
    }
}
