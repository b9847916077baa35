//! What becomes of a container's contents when somebody dies, and when the container ends.

use crate::bank::{self, Bank, Shape};
use crate::blob;
use crate::carriers;
use crate::container::{Container, change, journaled};
use crate::object::Object;
use procession_shm::Arena;
use procession_shm::block::Block;
use procession_shm::contents::BankHeader;
use procession_shm::member::Member;
use procession_shm::span::{BlockState, Purpose};
use procession_sys::crash_point;
use procession_sys::prim::Ordering::{Acquire, Relaxed, Release};
use std::collections::HashSet;

/// Runs `f` for each word that is in `old` and not in `new`.
pub(crate) fn for_each_gone(old: &Bank, new: &Bank, mut f: impl FnMut(u64)) {
    if new.words().next().is_none() {
        return old.words().for_each(|(_, word)| f(word));
    }
    // Usually a copy in the same order, with members left out or put in.
    let mut kept: Option<HashSet<u64>> = None;
    let mut in_order = new.words().map(|(_, word)| word).peekable();
    for (_, word) in old.words() {
        if kept.is_none() && in_order.peek() == Some(&word) {
            in_order.next();
            continue;
        }
        let kept = kept.get_or_insert_with(|| new.words().map(|(_, word)| word).collect());
        if !kept.contains(&word) {
            f(word);
        }
    }
}

/// Finishes what a dead holder of the internal lock began, or forgets it. Idempotent.
pub(crate) fn repair(arena: &Arena, object: &Object) {
    let Ok(container) = Container::of(arena, object) else {
        return;
    };
    let line = container.line;
    match line.change.load(Acquire) {
        change::PUT => repair_put(arena, &container),
        change::APPEND => repair_append(arena, &container),
        change::POP => repair_pop(arena, &container),
        change::FLIP => repair_flip(arena, &container),
        _ => {}
    }
    crash_point!("container.repairing");
    line.length.store(count(arena, &container), Release);
    line.change.store(0, Release);
}

fn count(arena: &Arena, container: &Container) -> u64 {
    match (container.bank(arena), container.shape) {
        (None, _) => 0,
        (Some((_, bank)), Shape::Vector) => bank.used(),
        (Some((_, bank)), Shape::Table) => bank.words().count() as u64,
    }
}

fn repair_put(arena: &Arena, container: &Container) {
    let line = container.line;
    let (at, new, old) = (
        line.at.load(Relaxed),
        line.new.load(Relaxed),
        line.old.load(Relaxed),
    );
    let Some((_, bank)) = container.bank(arena) else {
        return;
    };
    let Some(cell) = journaled(&bank, at) else {
        return;
    };
    if cell.load(Relaxed) == new {
        if new != 0 {
            publish(arena, new, Purpose::Blob);
            bank.set_used(bank.used().max(at + 1));
            bank.set_tail(bank.used());
        }
        free_blob(arena, &container.object, old);
    } else if old == 0 && container.shape == Shape::Table {
        // The place in the index was the last thing entered: nothing lies behind it.
        let of_cell = at as u32 + 1;
        let place = bank.probe(bank.hash(at).load(Relaxed));
        let mut entered = place
            .map(|place| &bank.index[place])
            .take_while(|entry| entry.load(Relaxed) != 0);
        if let Some(entry) = entered.find(|entry| entry.load(Relaxed) == of_cell) {
            entry.store(0, Release);
        }
    }
}

fn repair_append(arena: &Arena, container: &Container) {
    let line = container.line;
    let (from, end) = (line.at.load(Relaxed), line.new.load(Relaxed));
    let Some((_, bank)) = container.bank(arena) else {
        return;
    };
    for index in from..end.min(bank.capacity()) {
        let cell = bank.cell(index);
        if bank.used() >= end {
            publish(arena, cell.load(Relaxed), Purpose::Blob);
        } else {
            cell.store(0, Release);
        }
    }
}

fn repair_pop(arena: &Arena, container: &Container) {
    let line = container.line;
    let (at, old) = (line.at.load(Relaxed), line.old.load(Relaxed));
    let Some((_, bank)) = container.bank(arena) else {
        return;
    };
    if let Some(cell) = journaled(&bank, at).filter(|_| bank.used() <= at) {
        cell.store(0, Release);
        free_blob(arena, &container.object, old);
    }
}

fn repair_flip(arena: &Arena, container: &Container) {
    let line = container.line;
    let (new, old) = (line.new.load(Relaxed), line.old.load(Relaxed));
    if line.bank.load(Relaxed) != new {
        return;
    }
    let Some(bank) = Bank::of(arena, container.shape, new) else {
        return;
    };
    for (_, word) in bank.words() {
        publish(arena, word, Purpose::Blob);
    }
    publish(arena, new, Purpose::Bank);
    if let Some(block) = bank::block_of(arena, &container.object, old) {
        if let Some(before) = Bank::of(arena, container.shape, old) {
            for_each_gone(&before, &bank, |gone| {
                free_blob(arena, &container.object, gone);
            });
        }
        arena.free_block(&block);
    }
}

fn publish(arena: &Arena, word: u64, purpose: Purpose) {
    let block = arena.block_at(blob::offset_of(word));
    if let Ok((block, Some(BlockState::Alloc(found, owner)))) = block.map(|it| (it, it.state())) {
        if found == purpose {
            let _ = block.publish(purpose, owner);
        }
    }
}

/// Frees a blob that is no longer in the container. What it referred to is let go by a sweep.
fn free_blob(arena: &Arena, object: &Object, word: u64) {
    if word != 0 {
        if let Some(block) = blob::block_of(arena, word, object.offset) {
            arena.free_block(&block);
        }
    }
}

/// Frees all that an object that is ours to free has besides its block. Killed in it: done again.
/// What is held no longer after that is added to `gone`: ours to free, too.
pub(crate) fn destroy(member: Member, object: &Object, gone: &mut Vec<Object>) {
    let Ok(container) = Container::of(member.arena, object) else {
        return;
    };
    let me = member.local.owner;
    let word = container.line.bank.load(Acquire);
    let Some(block) = bank::block_of(member.arena, object, word) else {
        return;
    };
    if let Some(bank) = Bank::of(member.arena, container.shape, word) {
        for (_, word) in bank.words() {
            let blob = blob::block_of(member.arena, word, object.offset);
            if let Some(blob) = blob.filter(|blob| blob.retract(Purpose::Blob, me)) {
                carriers::let_go_of(member, &blob, gone);
                member.free(&blob);
                crash_point!("container.emptying");
            }
        }
    }
    if block.retract(Purpose::Bank, me) {
        member.free(&block);
    }
}

/// What a sweeper has to know of a block that is ALLOC by the dead: whether the container that it
/// names has it, because the dead had committed and whoever took the lock over has yet to publish it.
pub fn is_linked(arena: &Arena, block: &Block, purpose: Purpose) -> bool {
    let parent = match purpose {
        Purpose::Bank => arena
            .at::<BankHeader>(block.offset)
            .map(|header| header.parent.load(Relaxed)),
        Purpose::Blob => arena
            .at::<procession_sys::prim::AtomicU64>(block.offset)
            .map(|label| (label.load(Relaxed) & blob::PLACE) * blob::LINE),
        _ => return false,
    };
    let object = parent.and_then(|parent| Object::at(arena, parent));
    let Ok(Some(object)) = object else {
        return false;
    };
    let Ok(container) = Container::of(arena, &object) else {
        return false;
    };
    if container.line.change.load(Acquire) == 0 {
        return false;
    }
    let Some((word, bank)) = container.bank(arena) else {
        return false;
    };
    match purpose {
        Purpose::Bank => (word & blob::PLACE) * blob::LINE == block.offset,
        _ => bank.words().any(|(_, word)| {
            blob::offset_of(word) == block.offset
                && blob::is_labelled(arena, block, blob::label_of(word, object.offset))
        }),
    }
}

/// What a walk over a container found.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// Offsets of its blocks.
    pub(crate) blocks: Vec<u64>,
    /// What cannot be.
    pub(crate) wrong: Vec<String>,
}

/// Walks over a container that nobody changes.
pub(crate) fn check(arena: &Arena, object: &Object) -> Checked {
    let mut checked = Checked::default();
    let Ok(container) = Container::of(arena, object) else {
        checked.wrong.push("has no body".into());
        return checked;
    };
    let line = container.line;
    // Then a change is under way, or a dead writer's has yet to be repaired.
    if line.change.load(Acquire) != 0 && object.header.lock.load(Acquire) == 0 {
        checked
            .wrong
            .push("has an open journal and no writer".into());
    }
    let word = line.bank.load(Acquire);
    let Some(bank) = Bank::of(arena, container.shape, word) else {
        if word != 0 {
            checked
                .wrong
                .push(format!("has the impossible bank {word:#x}"));
        }
        return checked;
    };
    match bank::block_of(arena, object, word) {
        Some(block) => checked.blocks.push(block.offset),
        None => checked
            .wrong
            .push(format!("has a bank {word:#x} that is not its own")),
    }
    let mut seen = HashSet::new();
    for (index, word) in bank.words() {
        match blob::block_of(arena, word, object.offset) {
            Some(block) => {
                checked.blocks.push(block.offset);
                if !seen.insert(block.offset) {
                    checked.wrong.push(format!("has a blob twice, at {index}"));
                }
            }
            None => checked
                .wrong
                .push(format!("has a foreign blob {word:#x} at {index}")),
        }
        let hash = (container.shape == Shape::Table).then(|| bank.hash(index).load(Relaxed));
        let entered = |hash| {
            bank.probe(hash)
                .map(|place| bank.index[place].load(Relaxed))
                .take_while(|entry| *entry != 0)
                .any(|entry| u64::from(entry) == index + 1)
        };
        if hash.is_some_and(|hash| !entered(hash)) {
            checked
                .wrong
                .push(format!("does not find its cell {index}"));
        }
    }
    let length = line.length.load(Acquire);
    if seen.len() as u64 != length {
        checked
            .wrong
            .push(format!("has {} members, not {length}", seen.len()));
    }
    checked
}
