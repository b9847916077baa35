"""The errors that multiprocessing never had. Each carries its facts and survives pickling.

They are public as `procession.errors` and at the top level of the package.
"""

import errno
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self

    from procession._native import SemLock

__all__ = [
    "ArenaLostError",
    "ForkWithThreadsWarning",
    "OwnerDiedError",
    "OwnerDiedWarning",
    "Recovery",
    "StaleHandleError",
    "TornMessageError",
    "UnsupportedPlatformError",
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


class ArenaLostError(OSError):
    """The family's shared memory cannot be reached any more: its descriptors were closed everywhere."""

    __module__ = "procession.errors"


class UnsupportedPlatformError(OSError):
    """This system lacks something that procession's guarantees rest on; the message names it."""

    __module__ = "procession.errors"
