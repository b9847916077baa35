//! Says whether anything in an arena is inconsistent or leaked.

use crate::carriers;
use crate::ledger;
use crate::lock::SharedLock;
use crate::object::{Object, ObjectKind};
use crate::queue::Queue;
use crate::sweep::{self, Parent};
use crate::upkeep;
use procession_shm::layout::{FIRST_SPAN, LedgerBlock, QueueLine, SLOTS, SPAN};
use procession_shm::span::{BlockState, Purpose, SpanState};
use procession_shm::{Arena, ArenaError, OwnerId};
use procession_sys::prim::Ordering::{Acquire, Relaxed};
use std::collections::{BTreeSet, HashSet};

/// What a walk over every word of an arena found. Exact only while nobody else changes it.
#[derive(Debug, Default, Clone)]
pub struct Report {
    /// Words that no step writes, references to nothing.
    pub inconsistent: Vec<String>,
    /// Published memory that nobody holds.
    pub leaked: Vec<String>,
    /// Living objects.
    pub objects: usize,
    /// Objects that a travelling handle keeps for the arena's life.
    pub pinned: usize,
    /// Blocks in use.
    pub blocks: usize,
    /// Spans in use.
    pub spans: usize,
    /// Living processes.
    pub members: usize,
    /// Things of dead processes that no sweep has freed yet.
    pub garbage: usize,
}

struct Walk {
    arena: &'static Arena,
    report: Report,
    dead: Vec<bool>,
    /// Published blocks of contents, and those that some container has.
    contents: BTreeSet<u64>,
    contained: BTreeSet<u64>,
    /// Chunks and blocks that some queue must have.
    sent: Vec<u64>,
    /// Those that queues say they have.
    reached: HashSet<u64>,
}

/// Walks over every word.
pub fn fsck(arena: &'static Arena) -> Result<Report, ArenaError> {
    let used = arena.slots_used();
    let mut walk = Walk {
        arena,
        report: Report::default(),
        dead: Vec::with_capacity(used),
        contents: BTreeSet::new(),
        contained: BTreeSet::new(),
        sent: Vec::new(),
        reached: HashSet::new(),
    };
    let claimed = arena.header().slots_used.load(Relaxed);
    if claimed as usize > SLOTS {
        walk.wrong(format!("{claimed} slots used of {SLOTS}"));
    }
    for index in 0..used {
        let owner = arena.slot(index).owner(index);
        let dead = owner.map_or(Ok(true), |owner| arena.try_is_dead(owner))?;
        walk.dead.push(dead);
        walk.report.members += usize::from(!dead);
    }
    walk.spans();
    walk.blocks();
    for offset in walk.contents.difference(&walk.contained) {
        let what = format!("block {offset:#x} is in no container");
        walk.report.leaked.push(what);
    }
    walk.unreached();
    Ok(walk.report)
}

impl Walk {
    fn wrong(&mut self, what: String) {
        self.report.inconsistent.push(what);
    }

    /// Counts what a dead owner left; complains about an owner that cannot be.
    fn owner(&mut self, owner: OwnerId, of: &str) {
        match owner.slot() {
            Some(index) if index < SLOTS && index < self.dead.len() => {
                let generation = self.arena.slot(index).generation.load(Relaxed);
                if self.dead[index] || !owner.is_generation(generation) {
                    self.report.garbage += 1;
                }
            }
            _ => self.wrong(format!("{of} is owned by {owner:?}, who never came")),
        }
    }

    fn spans(&mut self) {
        let used = self.arena.header().spans_used.load(Acquire);
        if used > self.arena.span_limit() {
            self.wrong(format!("{used} spans used of {}", self.arena.span_limit()));
            return;
        }
        for span in FIRST_SPAN..used {
            let word = self.arena.span_word(span).load(Acquire);
            match SpanState::of(word) {
                None => self.wrong(format!("span {span} has the impossible word {word:#x}")),
                Some(state) => self.span(span, state, used),
            }
        }
    }

    fn span(&mut self, span: u32, state: SpanState, used: u32) {
        self.report.spans += usize::from(state != SpanState::Free);
        match state {
            SpanState::Free => {}
            SpanState::Claimed(owner) => self.owner(owner, &format!("span {span}")),
            SpanState::Class(class, owner) => {
                if !self.arena.is_committed(span) {
                    self.wrong(format!("span {span} is in use and has no memory"));
                }
                if class >= procession_shm::heap::CLASSES.len() {
                    self.wrong(format!("span {span} is of class {class}"));
                }
                if !owner.is_none() {
                    self.owner(owner, &format!("span {span}"));
                }
            }
            SpanState::Run(spans, _) => {
                let whole = (span + 1..span + spans).all(|tail| {
                    tail < used
                        && self.arena.span_word(tail).load(Acquire) == SpanState::Tail(span).word()
                });
                if spans == 0 || !whole {
                    self.wrong(format!("the run of {spans} spans at {span} is torn"));
                }
            }
            SpanState::Tail(head) => {
                let of_run = (FIRST_SPAN..span).contains(&head)
                    && match SpanState::of(self.arena.span_word(head).load(Acquire)) {
                        Some(SpanState::Run(spans, _)) => span < head + spans,
                        Some(SpanState::Claimed(_)) => true,
                        _ => false,
                    };
                if !of_run {
                    self.report
                        .leaked
                        .push(format!("span {span}, a tail of no run at {head}"));
                }
            }
        }
    }

    fn blocks(&mut self) {
        for (block, state) in self.arena.blocks() {
            self.report.blocks += 1;
            match state {
                BlockState::Free => {}
                BlockState::Alloc(_, owner) | BlockState::Claim(_, owner) => {
                    self.owner(owner, &format!("block {:#x}", block.offset));
                }
                BlockState::Owned(Purpose::Ledger) => {
                    let name = format!("ledger block {:#x}", block.offset);
                    match sweep::parent_of(self.arena, &block, Purpose::Ledger) {
                        Parent::Linked => {}
                        Parent::Unmade(by) => self.owner(by, &name),
                        Parent::None => self.report.leaked.push(format!("{name} of no object")),
                    }
                }
                BlockState::Owned(Purpose::Bank | Purpose::Blob) => {
                    self.contents.insert(block.offset);
                }
                BlockState::Owned(Purpose::Chunk | Purpose::Payload) => {
                    self.sent.push(block.offset);
                }
                BlockState::Owned(Purpose::Object) => match Object::at(self.arena, block.offset) {
                    Ok(Some(object)) => self.object(&object),
                    _ => self.wrong(format!("object {:#x} cannot be read", block.offset)),
                },
            }
        }
    }

    fn object(&mut self, object: &Object) {
        let place = object.offset;
        self.report.objects += 1;
        let Some(kind) = object.kind() else {
            self.wrong(format!("object {place:#x} is of no kind"));
            return;
        };
        let name = format!("{} {place:#x}", kind.name());
        if object.serial == 0 {
            self.wrong(format!("{name} has no serial"));
        }
        self.chain(
            &format!("{name}'s ledger"),
            object,
            object.header.chain.load(Acquire),
        );
        let waiters = u64::from(object.header.waiters.load(Acquire)) * 64;
        self.chain(&format!("{name}'s waiters"), object, waiters);
        let entries: Vec<OwnerId> = ledger::entries(self.arena, object.header)
            .filter(|entry| ledger::carrier_of(entry).is_none())
            .map(ledger::owner_of)
            .filter(|owner| !owner.is_none())
            .collect();
        for owner in &entries {
            self.owner(*owner, &format!("{name}'s ledger"));
        }
        let mut carriers = 0;
        for entry in ledger::entries(self.arena, object.header) {
            if ledger::carrier_of(entry).is_some() {
                carriers += 1;
                let dead = |owner| self.arena.try_is_dead(owner).unwrap_or(false);
                let stale = carriers::is_stale(self.arena, object, entry, dead);
                self.report.garbage += usize::from(stale);
            }
        }
        let pinned = object.header.pins.load(Relaxed) != 0;
        self.report.pinned += usize::from(pinned);
        if entries.is_empty() && carriers == 0 && !pinned {
            self.report.leaked.push(format!("{name} is held by nobody"));
        }
        let inner = OwnerId::of_word(object.header.lock.load(Acquire));
        if !inner.is_none() {
            self.owner(inner, &format!("{name}'s internal lock"));
        }
        if kind.has_lock() {
            self.user_lock(&name, object);
        }
        if kind.is_container() {
            let checked = upkeep::check(self.arena, object);
            self.contained.extend(checked.blocks);
            let wrong = checked.wrong.into_iter();
            let told = wrong.map(|what| format!("{name} {what}"));
            self.report.inconsistent.extend(told);
        }
        if kind == ObjectKind::Queue {
            self.queue(&name, object);
        }
    }

    /// A queue's locks are of somebody, its chain leads from one record to the other.
    fn queue(&mut self, name: &str, object: &Object) {
        let Ok(line) = object.body::<QueueLine>(self.arena) else {
            self.wrong(format!("{name} has no body"));
            return;
        };
        for lock in [&line.producers.lock, &line.consumers.lock] {
            let holder = OwnerId::of_word(lock.load(Acquire));
            if !holder.is_none() {
                self.owner(holder, &format!("{name}'s lock"));
            }
        }
        let queue = Queue { object, line };
        if queue.put_seq() < queue.get_seq() {
            self.wrong(format!("{name} gave more than it got"));
        }
        let (chunks, blocks) = queue.contents(self.arena);
        let last = line.producers.records[(line.producers.commit.load(Acquire) & 1) as usize]
            .chunk
            .load(Relaxed);
        if last != 0 && !chunks.contains(&last) {
            self.wrong(format!("{name}'s chunks do not lead to the last"));
        }
        for chunk in chunks {
            if !self.reached.insert(u64::from(chunk) * SPAN) {
                self.wrong(format!("{name} has the chunk {chunk} of another, or twice"));
            }
        }
        for block in blocks {
            if !self.reached.insert(block) {
                self.wrong(format!(
                    "{name} has the block {block:#x} of another, or twice"
                ));
            }
        }
    }

    fn unreached(&mut self) {
        for offset in std::mem::take(&mut self.sent) {
            if !self.reached.contains(&offset) {
                let what = format!("block {offset:#x}, which no queue has");
                self.report.leaked.push(what);
            }
        }
    }

    /// A chain is made of ledger blocks that name the object, and it ends.
    fn chain(&mut self, name: &str, object: &Object, first: u64) {
        // More than all living processes and their waiters fill.
        const MOST: usize = SLOTS * 16;
        let mut next = first;
        for _ in 0..MOST {
            if next == 0 {
                return;
            }
            let state = self.arena.block_at(next).ok().and_then(|it| it.state());
            let is_ledger = matches!(
                state,
                Some(BlockState::Owned(Purpose::Ledger) | BlockState::Alloc(Purpose::Ledger, _))
            );
            // A block of waiters begins like one of a ledger.
            let Some(block) = self.arena.at::<LedgerBlock>(next).ok().filter(|block| {
                is_ledger
                    && block.parent.load(Relaxed) == object.offset
                    && block.parent_serial.load(Relaxed) == object.serial
            }) else {
                self.wrong(format!("{name} leads to {next:#x}, no block of its"));
                return;
            };
            next = block.next.load(Acquire);
        }
        self.wrong(format!("{name} has no end"));
    }

    fn user_lock(&mut self, name: &str, object: &Object) {
        let Ok(line) = object.lock_line(self.arena) else {
            self.wrong(format!("{name} has no body"));
            return;
        };
        let holder = SharedLock::new(line).owner();
        let is_someone = holder.slot().is_some();
        if is_someone && holder.slot().is_some_and(|slot| slot >= self.dead.len()) {
            self.wrong(format!("{name} is held by {holder:?}, who never came"));
        }
    }
}
