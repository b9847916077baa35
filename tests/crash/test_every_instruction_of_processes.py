"""Death after every instruction of fork, of joining an arena and of making one."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import Any

import forkstops
import pytest
import stepping
from campaign import PATIENCE, Campaign, acquirable

from procession import _native

pytestmark = [
    pytest.mark.crash,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore:process .* died holding"),
]


def test_fork_in_parent(stepper, stride):
    """os.fork() itself, in the parent: before and after. The child, if there is one by then, ends at once."""
    lock, others = _native.Lock(), children()

    def act(_: Any) -> None:
        if os.fork() == 0:
            os._exit(0)

    def check() -> None:
        reap_orphans(others)
        acquirable(lock)

    with stepping.subreaper():
        Campaign(stepper, stride, "fork, in the parent").run_by_steps(
            lambda: stepping.fork_victim(_native.Lock, act), check=check
        )


def test_fork_in_child(stepper, stride):
    """A forked child attaches: it dies in its after-fork handlers, while its parent lives on."""
    lock = _native.Lock()
    mothers: list[int] = []

    def make_victim() -> int:
        told, tell = os.pipe()
        mother = os.fork()
        if mother == 0:
            mother_of_a_victim(tell)
        mothers.append(mother)
        os.close(tell)
        victim = int(os.read(told, 32))
        os.close(told)
        while not is_stopped(victim):
            time.sleep(0.0002)
        return victim

    def check() -> None:
        _, status = os.waitpid(mothers.pop(), 0)
        assert os.waitstatus_to_exitcode(status) == 0, "the parent of the dead child could not go on"
        acquirable(lock)

    campaign = Campaign(stepper, stride, "fork, in the child")
    campaign.bury = kill_if_there  # its mother reaps it
    campaign.run(make_victim, check=check)


def mother_of_a_victim(tell: int) -> None:
    status = 1
    try:
        kept = _native.Lock()
        forkstops.stop_children(tell)
        if os.fork() == 0:
            stepping.stop_self()
            os._exit(0)
        os.wait()
        status = int(not kept.acquire(timeout=PATIENCE))
    finally:
        os._exit(status)


def is_stopped(pid: int) -> bool:
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "Tt"


def kill_if_there(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def test_attach_after_a_bare_fork(stepper, stride):
    """A child by fork(2), behind Python's back, attaches at its first use of the arena."""
    lock = _native.Lock()
    Campaign(stepper, stride, "attach after a bare fork").run(
        lambda: stepping.fork_victim_raw(lambda _: lock.acquire()), check=lambda: acquirable(lock)
    )


def test_attach_by_descriptor(stepper, stride, tmp_path):
    """A process that never saw the arena maps it from its descriptor."""
    lock = _native.Lock()
    nursery = Nursery(_native.arena_fd(), tmp_path)
    try:
        campaign = Campaign(stepper, stride, "attach by descriptor")
        campaign.code, campaign.bury = nursery.code, nursery.bury
        campaign.run(nursery.make_victim, check=lambda: acquirable(lock))
    finally:
        nursery.close()


GROWING = ("Lock", "Memory, a span", "Memory, many spans")


@pytest.mark.parametrize("name", ["arena", *GROWING])
def test_in_a_new_arena(stepper, stride, tmp_path, name):
    """The first objects of all: the arena itself, and its first extents. Each victim has an arena to itself."""
    nursery = Nursery(None, tmp_path)
    try:
        campaign = Campaign(stepper, stride, f"create {name}, in a new arena")
        campaign.code, campaign.bury = nursery.code, nursery.bury
        campaign.run(lambda: nursery.make_victim_in_new_arena(name))
    finally:
        nursery.close()


class Nursery:
    """A warm interpreter that has the module but no arena, and forks victims from that state."""

    CODE = """
import os, sys
sys.path[:0] = {path!r}
import stepping
from procession import _native

GROWING = {{
    "Lock": _native.Lock,
    "Memory, a span": lambda: _native.Memory(60_000),
    "Memory, many spans": lambda: _native.Memory(300_000),
}}

def attach(fd):
    return stepping.fork_victim(lambda: None, lambda _: _native.attach(fd))

def make_arena():
    return stepping.fork_victim(lambda: None, lambda _: _native.ensure_arena())

def mother(name):
    # A process of its own makes an arena, has a victim in it, and says when that is dead whether all is well.
    (asked, ask), (told, tell) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            _native.ensure_arena()
            victim = stepping.fork_victim(lambda: None, lambda _: GROWING[name]())
            os.write(tell, b"%d" % victim)
            os.close(ask)
            os.read(asked, 1)
            stepping.bury(victim)
            _native.sweep()
            report = _native.fsck()
            assert not report["inconsistent"], report
            assert not report["leaked"], report
            assert not report["objects"] and not report["garbage"], report
            kept = [GROWING[name]() for _ in range(3)]
            status = 0
        finally:
            sys.excepthook(*sys.exc_info()) if sys.exc_info()[0] else None
            os._exit(status)
    os.close(asked), os.close(tell)
    victim = int(os.read(told, 32))
    os.close(told)
    return victim, pid, ask

mothers = {{}}
print(stepping.code_of(_native.__file__), flush=True)
for line in sys.stdin:
    verb, _, rest = line.strip().partition(" ")
    if verb == "attach":
        print(attach(int(rest)), flush=True)
    elif verb == "make":
        if rest == "arena":
            print(make_arena(), flush=True)
        else:
            victim, pid, ask = mother(rest)
            mothers[victim] = pid, ask
            print(victim, flush=True)
    elif int(rest) in mothers:
        pid, ask = mothers.pop(int(rest))
        os.write(ask, b"?")
        os.close(ask)
        print("ok" if os.waitpid(pid, 0)[1] == 0 else "failed", flush=True)
    else:
        stepping.bury(int(rest))
        print("ok", flush=True)
"""

    def __init__(self, fd: int | None, folder: pathlib.Path) -> None:
        self.fd = fd
        script = folder / "nursery.py"
        script.write_text(self.CODE.format(path=sys.path))
        pass_fds = [] if fd is None else [fd]
        self.process = subprocess.Popen(
            [sys.executable, script],
            pass_fds=pass_fds,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.code = self._line()

    def make_victim(self) -> int:
        return int(self._ask(f"attach {self.fd}"))

    def make_victim_in_new_arena(self, name: str) -> int:
        return int(self._ask(f"make {name}"))

    def bury(self, victim: int) -> None:
        assert self._ask(f"bury {victim}") == "ok", "what the victim left is not in order"

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def _ask(self, line: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self._line()

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line, "the nursery has died"
        return line


def reap_orphans(others: set[int]) -> None:
    """Wait for the grandchildren that a dead victim left to this process, whose own children are `others`."""
    while orphans := children() - others:
        for orphan in orphans:
            os.waitpid(orphan, 0)


def children() -> set[int]:
    return set(map(int, pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()))
