"""The future of a call: what those who wait for it share is made when the first of them comes.

A future of concurrent.futures has a condition, which costs as much as all else that is done for a small
task. Most futures are never waited for: their results are there when somebody asks. So this one's
condition, waiters and callbacks come into being when they are looked at, under the very names that
`wait`, `as_completed` and asyncio look for.

    collector   `begin`, `finish`     the state changes in one native step if nobody has looked at the condition yet,
    anybody     `_condition`          and under it, as it always has, if somebody has
"""

import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import _base as states
from typing import Any, Final, NoReturn, TypeVar

from procession import _native

T = TypeVar("T")
_IS_ALONE: Final[bool] = getattr(sys, "_is_gil_enabled", lambda: True)()
"""Whether a native step is one to all threads."""


class _Shared:
    """An attribute made at the first look, one for all threads."""

    def __init__(self, make: Callable[[], object]) -> None:
        self._make = make

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, future: Any, owner: type) -> Any:
        if future is None:
            return self
        future._is_shared = True  # before anybody has the condition
        return vars(future).setdefault(self._name, self._make())


class Promise(Future[T]):
    """A future of concurrent.futures in all that can be seen of it."""

    __module__, __qualname__ = Future.__module__, Future.__qualname__

    _state, _result, _exception = states.PENDING, None, None
    _is_shared = not _IS_ALONE
    """Whether anybody may have its condition."""
    _condition = _Shared(threading.Condition)
    _waiters, _done_callbacks = _Shared(list), _Shared(list)

    def __init__(self) -> None:
        """Nothing but what the class says; what others need comes when they look for it."""

    def __reduce__(self) -> NoReturn:
        raise TypeError("a future cannot be pickled: it is of the process that made it")

    def result(self, timeout: float | None = None) -> T:
        """The call's result; raises what the call raised, CancelledError, or TimeoutError after `timeout` seconds."""
        if self._state == states.FINISHED and self._exception is None:
            return self._result  # type: ignore[return-value]
        return super().result(timeout)

    def begin(self) -> bool:
        """It runs from now on; false when it has been cancelled."""
        if _native.change_state(self, states.PENDING, states.RUNNING) or self._state == states.RUNNING:
            return True  # or was given to another worker before
        return self.set_running_or_notify_cancel()

    def finish(self, value: T) -> None:
        """It runs, and that is its result."""
        self._result = value
        if not _native.change_state(self, states.RUNNING, states.FINISHED):
            self.set_result(value)


Promise.__name__ = Future.__name__  # as it shows itself
