"""Which ctypes objects the standard library's pickler takes as ours.

Reducers are registered by type, and one type may have objects in the standard
library's heap and in the arena: whose an object is, its `_wrapper` says. The
standard library registers its own reducer again whenever it makes an object; ours
then still travels by it, but only while a process is being spawned.
"""

from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Any

Reducer = Callable[[Any], tuple[Any, ...]]


def _others(type_: Any) -> Reducer:
    registered: Reducer | None = ForkingPickler._extra_reducers.get(type_)  # type: ignore[attr-defined]
    return registered or (lambda obj: obj.__reduce_ex__(2))


class _Switch:
    """The reducer of one type: ours for objects in the arena, else whatever was registered before."""

    def __init__(self, is_ours: Callable[[Any], bool], ours: Reducer, others: Reducer) -> None:
        self.is_ours, self.ours, self.others = is_ours, ours, others

    def __call__(self, obj: Any) -> tuple[Any, ...]:
        return (self.ours if self.is_ours(obj) else self.others)(obj)


def register(type_: Any, is_ours: Callable[[Any], bool], ours: Reducer) -> None:
    """Make the standard library's pickler use `ours` for objects of this type that `is_ours` accepts."""
    if not isinstance(ForkingPickler._extra_reducers.get(type_), _Switch):  # type: ignore[attr-defined]
        ForkingPickler.register(type_, _Switch(is_ours, ours, _others(type_)))
