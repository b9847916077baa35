"""Everything that a process does to the arena, once: so that a death planned by name finds its place."""

import os
import time
from typing import Any

from procession import _native

PATIENCE = 5.0


def everything(lock: Any, rlock: Any, value: Any, *, contended: bool) -> None:
    """All operations. The three objects are shared with who watches; `contended` adds a rival for the lock."""
    for shared in (lock, rlock):
        with shared:
            pass
        shared.acquire()
        shared.release()
    with rlock, rlock:
        pass
    if contended:
        contend(lock)
        contend(rlock)
    value.add(1)
    value.compare_exchange(-1, 0)
    objects(value)
    forks(lock)
    take_over(lock, rlock)
    _native.sweep()
    _native.fsck()
    _native.Lock().acquire()
    held = _native.Lock(), _native.Memory(1000)
    held[0].acquire()
    _native.detach_held()
    _native.leave()


def objects(value: Any) -> None:
    kept = [_native.Lock(), _native.RLock(), _native.Value("i", 3)]
    kept += [_native.Memory(size) for size in (1, 100, 1000, 30_000, 60_000, 1_000_000)]
    handle = value._handle()
    kept.append(_native.Value._open(handle))
    kept += [_native.Lock() for _ in range(2000)]  # more than a span of them
    kept.clear()


def forks(lock: Any) -> None:
    """A child that leaves cleanly, one that dies, and one by a bare fork(2)."""
    import ctypes

    pid = os.fork()
    if pid == 0:
        lock.locked()
        _native.leave()
        os._exit(0)
    os.waitpid(pid, 0)
    pid = os.fork()
    if pid == 0:
        os._exit(1)
    os.waitpid(pid, 0)
    _native.reaped()
    pid = ctypes.PyDLL(None).fork()
    if pid == 0:
        _native.Lock()
        os._exit(0)
    os.waitpid(pid, 0)


def take_over(lock: Any, rlock: Any) -> None:
    """From a child that dies with both locks held."""
    pid = os.fork()
    if pid == 0:
        lock.acquire()
        rlock.acquire()
        _native.Lock()
        os._exit(1)
    os.waitpid(pid, 0)
    for shared in (lock, rlock):
        if not shared.acquire(timeout=PATIENCE):
            raise AssertionError("the lock of a dead process was not to be had")
        shared.release()


def contend(lock: Any) -> None:
    """Waits for a lock that another process holds a little while: in vain at first, then with success."""
    held, tell = os.pipe()
    rival = os.fork()
    if rival == 0:
        lock.acquire()
        os.write(tell, b"h")
        time.sleep(0.02)
        lock.release()
        _native.leave()
        os._exit(0)
    os.read(held, 1)
    if lock.acquire(timeout=0.001):
        lock.release()
    lock.acquire()
    lock.release()
    os.waitpid(rival, 0)
    os.close(held)
    os.close(tell)
