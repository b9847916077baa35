"""Everything that a process does to the arena, once: so that a death planned by name finds its place.

Any process of the tour may be the one that dies: every wait ends when the other is dead, and `wait` notes a child's death.
"""

import contextlib
import ctypes
import os
import queue
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from procession import Lock, _native, shared

PATIENCE = 5.0
CHILD_DIED = 42  # the exit code of who lives, and has had a child that died

deaths = 0  # children of this process that died where they were to die


def everything(lock: Any, rlock: Any, value: Any, *, contended: bool) -> None:
    """All operations. The three objects are shared with who watches; `contended` adds rivals and waiters."""
    for each in (lock, rlock):
        with each:
            pass
        each.acquire()
        each.release()
    with rlock, rlock:
        pass
    value.add(1)
    value.compare_exchange(-1, 0)
    objects(value)
    forks(lock)
    passages(lock)
    take_over(lock, rlock)
    permits(contended=contended)
    desks()
    messages()
    acknowledgements()
    containers()
    connections(contended=contended)
    if contended:
        contend(lock)
        contend(rlock)
        waiters()
    _native.sweep()
    _native.give_back()
    _native.fsck()
    held = _native.Lock(), _native.Memory(1000)
    held[0].acquire()
    _native.detach_held()
    _native.leave()


def desks() -> None:
    """Tasks and results of a pool's worker, a large one among them."""
    desk = _native.Desk(4096, 4096)
    desk.post(3, b"message")
    desk.revoke(1)
    desk.take()
    desk.run(0, range(3), abs, False, lambda _: (16, b""), lambda _: (16, b""), lambda: None)
    desk.watch(2)
    desk.receive(10, len)
    memory = _native.Memory(1000)
    desk.lend(memory._handle())
    desk.tell(2, 0, 17, b"", lambda: None)
    desk.receive(10, len)
    desk.settle()


def wait(pid: int) -> None:
    global deaths
    _, status = os.waitpid(pid, 0)
    deaths += os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def child(act: Callable[[], Any], *, cleanly: bool = True) -> int:
    """A child that acts and ends; the tour goes on at once."""
    pid = os.fork()
    if pid == 0:
        status = 70
        try:
            act()
            if cleanly:
                _native.leave()
            status = 0
        finally:
            if deaths:
                os.kill(os.getpid(), signal.SIGKILL)
            os._exit(status)
    return pid


def objects(value: Any) -> None:
    kept = [_native.Lock(), _native.RLock(), _native.Value("i", 3)]
    kept += [_native.Memory(size) for size in (1, 100, 1000, 30_000, 60_000, 300_000)]
    kept.append(_native.Value(value.code, _handle=value._handle()))
    kept += [_native.Lock() for _ in range(1500)]  # more than a span of them
    kept.clear()


def forks(lock: Any) -> None:
    """A child that leaves cleanly, one that just ends, one by a bare fork(2), and many that hold the same objects."""
    wait(child(lock.locked))
    wait(child(lock.locked, cleanly=False))
    _native.reaped()
    pid = ctypes.PyDLL(None).fork()
    if pid == 0:
        _native.Lock()
        os._exit(0)
    wait(pid)
    gate, open_gate = os.pipe()

    def stay() -> None:
        os.close(open_gate)
        os.read(gate, 1)

    family = [child(stay) for _ in range(24)]
    os.close(gate)
    os.close(open_gate)
    for pid in family:
        wait(pid)


def passages(lock: Any) -> None:
    """Places for new interpreters, with something on board: given up again, and taken by one that is a member already."""
    passage = _native.Passage()
    passage.board(lock._handle())
    passage.abandon()
    passage = _native.Passage()
    passage.board(lock._handle())
    arena, slot = map(os.dup, passage.descriptors())  # copies that a forked child keeps
    wait(child(lambda: _native.embark(arena, slot, passage.manifest(), current=True).put_down()))
    for fd in (arena, slot):
        os.close(fd)
    passage.handed_over()


def newcomer(_: Any, handles: tuple[Any, ...]) -> None:
    """The tour of a process that is no copy; what it is sent besides comes as its luggage. Its exit code tells of deaths."""
    lock, rlock, value = handles
    everything(
        _native.Lock.__new__(_native.Lock, _handle=lock),
        _native.RLock.__new__(_native.RLock, _handle=rlock),
        _native.Value.__new__(_native.Value, "q", _handle=value),
        contended=True,
    )
    sys.exit(CHILD_DIED if deaths else 0)


def take_over(lock: Any, rlock: Any) -> None:
    """From a child that dies with both locks held."""
    wait(child(lambda: (lock.acquire(), rlock.acquire(), _native.Lock()), cleanly=False))
    for each in (lock, rlock):
        if not each.acquire(timeout=PATIENCE):
            raise AssertionError("the lock of a dead process was not to be had")
        each.release()


def permits(*, contended: bool) -> None:
    """Semaphores: units held, given, taken from the dead, given by others."""
    semaphore = _native.Semaphore(2)
    semaphore.acquire()
    wait(child(semaphore.acquire, cleanly=False))
    semaphore.acquire(timeout=PATIENCE)
    if contended:
        pid = child(lambda: semaphore.acquire(timeout=0.2))
        time.sleep(0.01)
        semaphore.release()
        wait(pid)
    semaphore.release()
    semaphore.release()  # one more than was taken: it signals from now on


BIG = bytes(100_000)
THIRD_OF_A_CHUNK = bytes(20_000)


def nothing_more(q: Any) -> None:
    """Get what there is."""
    try:
        while True:
            q.get(False)
    except queue.Empty:
        pass


def messages() -> None:
    """A queue: small and large, new chunks and left ones, a bell, the end of the stream, its memory."""
    q = _native.Queue(0, 1)
    for round_ in range(3):
        for item in (1, BIG, *[THIRD_OF_A_CHUNK] * 8):
            q.put(item)
        if round_:
            q._get_many(4, False)
        nothing_more(q)
    q.put([Lock(), Lock()])
    nothing_more(q)
    q.fileno()
    wait(child(lambda: q.put("rings")))
    nothing_more(q)
    full = _native.Queue(1)
    waiting = child(lambda: [full.put(n, True, 0.2) for n in (1, 2)])
    with contextlib.suppress(queue.Empty):
        full.get(True, 0.2)
    wait(waiting)
    wait(child(lambda: (q._add_producer(), q.put(BIG), q.put(1)), cleanly=False))
    q._add_producer()
    q._remove_producer()
    q.shutdown(True)
    view = memoryview(_native.Memory._buffer(len(BIG)))
    q = _native.Queue()
    q._put_many([view, view[1:]])
    nothing_more(q)
    common = memoryview(bytearray(1 << 20))
    q._put_many([common, common])
    nothing_more(q)
    q._put_many([view, view])
    last = _native.Queue()
    last._put_many([1, BIG, Lock(), *[THIRD_OF_A_CHUNK] * 8])


def acknowledgements() -> None:
    """Taken and finished, given back, taken by the dead and delivered again, delivered too often."""
    letters = _native.Queue()
    q = _native.Queue(acknowledging=True, redelivering=True, max_deliveries=2)
    q._set_dead_letter(letters)
    for _ in range(2):
        q._put_many([1, BIG, *[THIRD_OF_A_CHUNK] * 8])
        for _ in range(10):
            try:
                q.get(False)
                q._task_done()
            except (queue.Empty, ValueError):
                break
    q._put_many([Lock(), BIG])
    wait(child(lambda: q._get_many(2, False), cleanly=False))
    _native.reaped()
    for _ in range(4):
        try:
            _, delivery = q._get_delivery(True, 0.2)
        except queue.Empty:
            break
        q._give_back(delivery)
    nothing_more(q)
    nothing_more(letters)
    lost = _native.Queue(acknowledging=True)
    lost._put_many([1, BIG])
    wait(child(lambda: lost.get(False), cleanly=False))
    with contextlib.suppress(queue.Empty):
        while True:
            lost.get(False)
            lost._task_done()
    lost._wait_all_done()  # what the dead had is nobody's


def containers() -> None:
    """A dict and a list: changes of members, growth, one in the other, many at once, all at once, their end."""
    table, vector = shared.dict(), shared.list()
    for n in range(20):
        table[n] = str(n) * n
        vector.append(str(n) * n)
    table[3] = vector
    table["sum"] = 4
    table.incr("sum", -4)
    for _ in range(2):
        inner = shared.dict(word=1)
        vector[0] = inner
        table["inner"] = inner
        del inner
        vector[0] = 0
        del table["inner"]
    table.update(dict.fromkeys(range(3), BIG))
    vector.extend([1, 2, 3])
    vector.insert(1, "between")
    vector.reverse()
    vector.sort(key=str)
    vector.pop()
    del vector[:4]
    table.pop(19)
    for n in range(10, 18):
        del table[n]
    table.clear()
    vector.clear()
    table["last"] = vector


def connections(*, contended: bool) -> None:
    """Messages that go at one stroke and messages that do not, one that is refused, a wait for the turn."""
    one, other = _native.Connection._pair(False)
    other.send(1)
    one.recv()
    pid = child(lambda: other.send_bytes(bytes(200_000)))
    if one.poll(PATIENCE):
        try:
            one.recv_bytes()
        except OSError:
            pass
    wait(pid)
    spoiled, spoiler = _native.Connection._pair(False)
    spoiler.send_bytes(b"too long")
    with contextlib.suppress(OSError):
        spoiled.recv_bytes(1)
    if contended:
        reader, writer = _native.Connection._pair(True)
        pids = [child(lambda: reader._recv_bytes_within(10, 0.3), cleanly=False) for _ in range(2)]
        time.sleep(0.05)
        writer.send(1)
        for pid in pids:
            wait(pid)


def contend(lock: Any) -> None:
    """Waits for a lock that another process holds a little while: in vain at first, then with success."""
    held, tell = os.pipe()

    def hold() -> None:
        lock.acquire(timeout=PATIENCE)
        os.write(tell, b"h")
        time.sleep(0.02)
        lock.release()

    rival = child(hold)
    os.close(tell)
    os.read(held, 1)
    os.close(held)
    for patience in (0.001, PATIENCE):
        if lock.acquire(timeout=patience):
            lock.release()
    wait(rival)


def waiters() -> None:
    """Events, conditions and barriers, with somebody waiting."""
    event = _native.Event()
    waiting = child(lambda: event.wait(0.2))
    time.sleep(0.01)
    event.set()
    wait(waiting)
    event.clear()
    condition = _native.Condition(_native.RLock())

    def wait_for_notice() -> None:
        with condition._lock:
            condition.wait(0.2)

    family = [child(wait_for_notice) for _ in range(3)]
    time.sleep(0.02)
    for notify in (condition.notify, condition.notify_all):
        if condition._lock.acquire(timeout=PATIENCE):
            notify()
            condition._lock.release()
    for pid in family:
        wait(pid)
    for spoil in (lambda _: None, lambda barrier: barrier.abort(), lambda barrier: barrier.reset()):
        barrier = _native.Barrier(2)
        pid = child(lambda barrier=barrier: meet(barrier))
        spoil(barrier)
        meet(barrier)
        wait(pid)
    again = _native.Barrier(2)
    pid = child(lambda: (meet(again), meet(again)))
    meet(again)
    meet(again)
    wait(pid)


def meet(barrier: Any) -> None:
    try:
        barrier._wait(None, 0.2)
    except Exception:
        pass
