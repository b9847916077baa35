"""What all containers share: their lock, their way through pickle."""

from types import GenericAlias
from typing import Any, ClassVar, Protocol

from procession._shared import handles
from procession._shared.locks import RLock


class Container(Protocol):
    """What the lock of a container needs of it."""

    def _handle(self) -> handles.Handle: ...
    def _settle(self) -> None: ...
    def lock(self) -> "ContainerLock": ...


class ContainerLock(RLock, face=True):
    """The lock of a container: while a thread holds it, only that thread changes the container.

    All others' changes wait for it; reading goes on. When its holder is killed the next one
    takes it over, as with `RLock`; what the dead had changed by then stays changed.
    """

    __module__ = "procession.shared"

    _container: Container

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Acquire as `RLock` does; then every change that had begun before is done."""
        acquired = super().acquire(block, timeout)
        if acquired:
            try:
                self._container._settle()
            except BaseException:  # a signal's handler, while a change is waited for
                self.release()
                raise
        return acquired

    def __enter__(self) -> bool:
        return self.acquire()

    def __reduce__(self) -> tuple[Any, ...]:
        return lock_of, (self._container,)


def lock_of(container: Container) -> ContainerLock:
    """The lock of a container, as an object of its own."""
    lock = ContainerLock._open(container._handle())
    lock._container = container
    found: ContainerLock = lock
    return found


class Face:
    """Mixed into each container: it is pickled as a handle, and has a lock."""

    __slots__ = ()
    __class_getitem__: Any = classmethod(GenericAlias)
    __hash__: ClassVar[None]  # type: ignore[assignment]

    def lock(self: Any) -> ContainerLock:
        """A lock for compound changes: `with d.lock(): d[k] = f(d[k], d[other])`.

        While a thread holds it, everybody else's changes of this container wait; reads do not. It may be
        acquired again by its holder. When its holder is killed, the next one gets it within a tenth of
        a second, with one OwnerDiedWarning.
        """
        return lock_of(self)

    def __reduce__(self: Any) -> tuple[Any, ...]:
        return handles.reduce(self)
