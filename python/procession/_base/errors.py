"""The errors that multiprocessing never had. Each carries its facts and survives pickling.

They are public as `procession.errors` and at the top level of the package.
"""

import errno
import signal
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Self

    from procession._native import SemLock

__all__ = [
    "ArenaLostError",
    "ForkWithThreadsWarning",
    "ManagerDiedError",
    "OwnerDiedError",
    "OwnerDiedWarning",
    "PoolTerminatedError",
    "Recovery",
    "StaleHandleError",
    "TaskCancelledError",
    "TaskTimeoutError",
    "TornMessageError",
    "UnsupportedPlatformError",
    "WorkerDiedError",
]


class OwnerDiedWarning(RuntimeWarning):
    """A lock was taken over from an owner that died; what it guards may be half-done."""

    __module__ = "procession.errors"


class ForkWithThreadsWarning(DeprecationWarning):
    """A process is forked while other threads run: locks that they hold stay locked in the child for ever.

    A DeprecationWarning as the interpreter's own is from 3.12 on, so that filters made
    for that one fit: by default it is shown where the program's main module starts the
    process.
    """

    __module__ = "procession.errors"


class OwnerDiedError(OSError):
    """The owner of a lock died holding it, and the lock was made with `on_owner_death="raise"`.

    The lock is not held by whoever gets this error, but when it comes out of a
    Condition's `wait()`, which leaves with the lock in any case. It stays refused to everyone
    until somebody calls `recover()` and puts in order what it guards.
    """

    __module__ = "procession.errors"

    resource: str
    """What was being acquired: `Lock` or `RLock`."""
    pid: int
    """The process that died; 0 when that is not known."""
    lock: "SemLock"
    """The lock itself."""

    def __init__(self, resource: str, pid: int, lock: "SemLock") -> None:
        who = f"process {pid}" if pid else "a process"
        super().__init__(
            errno.EOWNERDEAD,
            f"{who} died holding this {resource}: repair what it guards inside `with error.recover():`",
        )
        self.resource, self.pid, self.lock = resource, pid, lock

    def recover(self) -> "Recovery":
        """Acquire the lock although its owner died, and lift the refusal.

        Blocks like `acquire()`. Use it as `with error.recover(): rebuild()`: the
        lock is released at the end, and refused again when the body raises.
        Without `with`, call `.release()` on what it returns.
        """
        self.lock._recover()
        return Recovery(self.lock)

    def __reduce__(self) -> tuple[type["OwnerDiedError"], tuple[str, int, "SemLock"]]:
        return type(self), (self.resource, self.pid, self.lock)


class ConsumerDiedError(OwnerDiedError):
    """A consumer of a JoinableQueue died with items that it had got and not acknowledged, and `join()` would wait for ever.

    Nobody will finish those items, unless somebody else has their result: `task_done()` called
    by a process without unacknowledged items of its own acknowledges them, oldest first.
    """

    __module__ = "procession.errors"

    def __init__(self, pid: int) -> None:
        who = f"process {pid}" if pid else "a process"
        OSError.__init__(
            self,
            errno.EOWNERDEAD,
            f"{who} died with items of this JoinableQueue that it had not finished: with "
            "redeliver=True others get them, and task_done() acknowledges them",
        )
        self.resource, self.pid = "JoinableQueue", pid

    def recover(self) -> "Recovery":
        """There is no lock to recover."""
        raise TypeError("no lock is to be recovered: call task_done() for the items that the dead had")

    def __reduce__(self) -> tuple[type["ConsumerDiedError"], tuple[int]]:  # type: ignore[override]
        return type(self), (self.pid,)


class Recovery:
    """A lock held in order to repair what it guards."""

    __module__ = "procession.errors"
    __slots__ = ("lock",)

    def __init__(self, lock: "SemLock") -> None:
        self.lock = lock

    def release(self) -> None:
        """Say that all is well again and let others in."""
        self.lock.release()

    def __enter__(self) -> "Self":
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        try:
            if exc_type is not None:
                self.lock._poison()
        finally:
            self.lock.release()


class StaleHandleError(OSError):
    """A handle names an object that is gone, or one of a family this process does not belong to."""

    __module__ = "procession.errors"


class TornMessageError(EOFError, OSError):
    """Half a message is all that there is of it: who sent or received it was killed, or the connection ended.

    Nothing that follows it could be told from it, so the connection carries nothing more in this direction. It is an
    EOFError, which programs take for the end, and an OSError, which the standard library raises in its place.
    """

    __module__ = "procession.errors"


class ManagerDiedError(ConnectionRefusedError, ConnectionResetError, BrokenPipeError, EOFError):
    """The manager of a proxy has been shut down, or its server has ended in whatever way.

    What a call that was under way has done is not known. Depending on the moment the standard library
    raises any of its base classes, so that programs that expect one of those expect this.
    """

    __module__ = "procession.errors"


class ArenaLostError(OSError):
    """The family's shared memory cannot be reached any more: its descriptors were closed everywhere."""

    __module__ = "procession.errors"


class UnsupportedPlatformError(OSError):
    """This system lacks something that procession's guarantees rest on; the message names it."""

    __module__ = "procession.errors"


class WorkerDiedError(RuntimeError):
    """The process that ran a task ended before the task did: killed, crashed, or by `os._exit`.

    Exactly the task that it was at is lost, and is not run again unless the program asks
    for it (`retries=`, `on_worker_death="retry"`): it may have done half of its work.
    """

    __module__ = "procession.errors"

    task: int | None
    """The task's place among its map's items; 0 for a single call, None when the worker died before it was ready for any."""
    arguments: str
    """What it was called with, shortened."""
    pid: int
    """The process that ended."""
    exitcode: int | None
    """Its exit status, or minus the number of the signal that ended it; None when nobody knows."""
    oom: bool | None
    """Whether the kernel ended it for want of memory, by the kernel's own counters; None when they do not say."""
    peak_memory: int | None
    """The most bytes of memory that it had, if its parent could learn that."""
    stderr: str
    """The last lines of what it wrote to `sys.stderr`, as far as its pool has kept them."""

    def __init__(
        self,
        task: int | None,
        arguments: str,
        pid: int,
        exitcode: int | None,
        *,
        oom: bool | None = None,
        peak_memory: int | None = None,
        stderr: str = "",
    ) -> None:
        self.task, self.arguments, self.pid, self.exitcode = task, arguments, pid, exitcode
        self.oom, self.peak_memory, self.stderr = oom, peak_memory, stderr
        super().__init__(self._text())

    def _text(self) -> str:
        text = f"worker {self.pid} {_how(self.exitcode)} "
        if self.task is None:
            text += "before it was ready for a task: while it started, or in the initializer"
        else:
            text += f"while it ran task {self.task}"
        if self.arguments:
            text += f", {self.arguments}"
        if self.oom:
            text += "; the kernel ended it for want of memory"
        elif self.oom is None and self.exitcode == -9:
            text += "; perhaps the kernel did, for want of memory"
        if self.peak_memory:
            text += f"; it had up to {self.peak_memory / 2**20:.0f} MiB"
        if self.stderr:
            text += f"; it last wrote:\n{self.stderr}"
        return text

    def __reduce__(self) -> tuple[Any, ...]:
        facts = {"oom": self.oom, "peak_memory": self.peak_memory, "stderr": self.stderr}
        return _worker_died, (type(self), self.task, self.arguments, self.pid, self.exitcode, facts)


def _worker_died(
    kind: type[WorkerDiedError],
    task: int | None,
    arguments: str,
    pid: int,
    exitcode: int | None,
    facts: dict[str, Any],
) -> WorkerDiedError:
    return kind(task, arguments, pid, exitcode, **facts)


def _how(exitcode: int | None) -> str:
    if exitcode is None:
        return "ended"
    if exitcode >= 0:
        return f"ended with exit code {exitcode}"
    try:
        name = signal.Signals(-exitcode).name
    except ValueError:
        name = f"signal {-exitcode}"
    return f"was ended by {name}"


class TaskTimeoutError(TimeoutError):
    """A task took longer than its `timeout=` and was interrupted; its cause tells where it was at that moment.

    Of a task that did not heed the interrupt, and whose worker was killed, it tells the stacks of all threads.
    """

    __module__ = "procession.errors"


class TaskCancelledError(RuntimeError):
    """A task was cancelled, before it began or while it ran."""

    __module__ = "procession.errors"


class PoolTerminatedError(RuntimeError):
    """The pool was terminated before the task had a result."""

    __module__ = "procession.errors"
