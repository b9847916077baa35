//! What each kind of object adds to the common life of objects: repair, and the end of a holder.

use crate::barrier::Barrier;
use crate::condition::Condition;
use crate::eventcount;
use crate::ilock::Held;
use crate::ledger;
use crate::lock::SharedLock;
use crate::object::{Object, ObjectKind};
use crate::permits;
use crate::queue::Queue;
use crate::turn;
use crate::upkeep;
use crate::waiters;
use procession_shm::block::Block;
use procession_shm::layout::{
    BarrierLine, ConditionLine, ConnectionLine, QueueLine, SemaphoreLine,
};
use procession_shm::member::Member;
use procession_shm::span::{BlockState, Purpose};
use procession_shm::{Arena, Liveness, OwnerId};
use procession_sys::prim::AtomicU64;

/// Finishes what a dead holder of the object's lock began. Idempotent, and blind to who died.
pub fn repair(arena: &Arena, object: &Object) {
    // A linked block is the object's, whoever allocated it.
    for block in chained(arena, object) {
        if let Some(BlockState::Alloc(Purpose::Ledger, owner)) = block.state() {
            let _ = block.publish(Purpose::Ledger, owner);
        }
    }
    match object.kind() {
        Some(ObjectKind::Semaphore) => {
            if let Ok(line) = object.body::<SemaphoreLine>(arena) {
                let entries: Vec<_> = ledger::entries(arena, object.header).collect();
                permits::repair(line, entries.iter().copied());
            }
        }
        Some(ObjectKind::Barrier) => {
            if let Ok(line) = object.body::<BarrierLine>(arena) {
                Barrier { object, line }.finish(arena);
            }
        }
        Some(kind) if kind.is_container() => upkeep::repair(arena, object),
        Some(ObjectKind::Queue) => {
            if let Ok(line) = object.body::<QueueLine>(arena) {
                Queue { object, line }.count_producers(arena);
            }
        }
        _ => {}
    }
}

/// Frees what an object that is ours to free has besides the blocks that name it. What only that
/// kept alive is added to `gone`.
pub fn unmake(member: Member, object: &Object, gone: &mut Vec<Object>) {
    if let (Some(ObjectKind::Queue), Ok(line)) =
        (object.kind(), object.body::<QueueLine>(member.arena))
    {
        Queue { object, line }.unmake(member, gone);
    }
}

/// The blocks that an object has besides its own: of its ledger and of its waiters.
pub fn chained<'a>(arena: &'a Arena, object: &Object) -> impl Iterator<Item = Block> + use<'a> {
    let ledger = ledger::blocks(arena, object.header).map(|(block, _)| block);
    ledger.chain(waiters::blocks(arena, object).map(|(block, _)| block))
}

/// Empties the ledger entry of a holder that has `died` (its pid) or has dropped its last handle.
pub fn settle(member: Member, object: &Object, entry: &AtomicU64, index: usize, died: Option<u32>) {
    let arena = member.arena;
    let permits_line = match object.kind() {
        Some(ObjectKind::Semaphore) => object.body::<SemaphoreLine>(arena).ok(),
        _ => None,
    };
    // Who drops the last handle of a lock that it holds leaves it held, on purpose.
    let user_lock = match object.kind() {
        Some(kind) if kind.has_lock() && died.is_none() => object.lock_line(arena).ok(),
        _ => None,
    };
    if let Some(line) = user_lock {
        let _ = SharedLock::new(line).detach(ledger::owner_of(entry));
    }
    let barrier_line = match object.kind() {
        Some(ObjectKind::Barrier) if died.is_none() => object.body::<BarrierLine>(arena).ok(),
        _ => None,
    };
    if let Some(line) = barrier_line {
        let owner = ledger::owner_of(entry);
        Barrier { object, line }.forget_members(arena, |member| member == owner);
    }
    if let (Some(ObjectKind::Connection), None) = (object.kind(), died) {
        if let Ok(line) = object.body::<ConnectionLine>(arena) {
            turn::settle(
                line,
                |owner| owner == ledger::owner_of(entry),
                |_| std::process::id(),
            );
        }
    }
    if let (Some(ObjectKind::Queue), None, Ok(line)) =
        (object.kind(), died, object.body::<QueueLine>(arena))
    {
        Queue { object, line }.settle(member, ledger::owner_of(entry));
    }
    match permits_line {
        Some(line) => {
            permits::settle(line, entry, index, died);
            eventcount::wake(&line.wake, u32::MAX >> 1);
        }
        None => entry.store(0, procession_sys::prim::Ordering::Release),
    }
}

/// Clears the dead out of an object's body: its user lock, its waiters, the locks of its sides.
pub fn bury(
    member: Member,
    object: &Object,
    held: &Held<'_>,
    is_dead: impl Fn(OwnerId) -> bool + Copy,
) {
    let Some(kind) = object.kind() else {
        return;
    };
    let arena = member.arena;
    if let (ObjectKind::Queue, Ok(line)) = (kind, object.body::<QueueLine>(arena)) {
        Queue { object, line }.bury(member, is_dead);
    }
    if kind.has_lock() {
        bury_user_lock(arena, object, is_dead);
    }
    if let (ObjectKind::Condition, Ok(line)) = (kind, object.body::<ConditionLine>(arena)) {
        Condition { object, line }.pass_on(arena, held, is_dead);
    }
    if let (ObjectKind::Barrier, Ok(line)) = (kind, object.body::<BarrierLine>(arena)) {
        Barrier { object, line }.bury(arena, is_dead);
        return;
    }
    if let (ObjectKind::Connection, Ok(line)) = (kind, object.body::<ConnectionLine>(arena)) {
        turn::settle(line, is_dead, |owner| arena.pid_of(owner));
        return;
    }
    for (entry, owner) in waiters::taken(arena, object) {
        if is_dead(owner) {
            waiters::free(entry);
        }
    }
}

fn bury_user_lock(arena: &Arena, object: &Object, is_dead: impl Fn(OwnerId) -> bool) {
    let Ok(line) = object.lock_line(arena) else {
        return;
    };
    let lock = SharedLock::new(line);
    let owner = lock.owner();
    if !owner.is_none() && is_dead(owner) {
        // Whoever took it over meanwhile has reported the death.
        let _ = lock.bury(owner, arena.pid_of(owner));
    }
}
