"""What of the main program a new process does not find when it imports it.

It imports the main module under another name, so nothing that stands under
`if __name__ == "__main__":` is there. That block is found in the program's text, by its
indentation: asking the compiler would take a large program longer than starting a process.
"""

import re
import sys
from collections.abc import Iterator
from functools import cache
from types import FunctionType
from typing import Any, Final, NamedTuple
from weakref import ref

STDIN: Final = "<stdin>"
"""The file of a program that comes from there."""

_GUARD: Final = re.compile(r"""^if\b[^#\n]*\b__name__\b[^#\n]*__main__""", re.MULTILINE)
_END: Final = re.compile(r"^[^\s#)\]}]", re.MULTILINE)
_DEFINITION: Final = re.compile(r"^\s+(?:async\s+def|def|class)\s+(\w+)", re.MULTILINE)


class _Block(NamedTuple):
    """Lines of the main program, the first being 1, and what they define."""

    first: int
    last: int
    names: frozenset[bytes]


@cache
def _blocks(path: str) -> tuple[_Block, ...]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123  pathlib is large
            return tuple(_find_blocks(file.read()))
    except OSError:
        return ()


def _find_blocks(text: str) -> Iterator[_Block]:
    for guard in _GUARD.finditer(text):
        after = text.find("\n", guard.end()) + 1 or len(text)
        end = _END.search(text, after)
        stop = end.start() if end else len(text)
        names = (name.encode() for name in _DEFINITION.findall(text, after, stop))
        yield _Block(text.count("\n", 0, guard.start()) + 1, text.count("\n", 0, stop) + 1, frozenset(names))


def _here() -> tuple[_Block, ...]:
    path = getattr(sys.modules["__main__"], "__file__", None)
    return _blocks(path) if isinstance(path, str) else ()


def has_file() -> bool:
    """Whether the program is a file; at a prompt, in a notebook, with `-c` and from the standard input it is not."""
    path = getattr(sys.modules["__main__"], "__file__", None)
    return isinstance(path, str) and path != STDIN


class Forked:
    """What of the main module those processes find that are forked from now on: what it has now."""

    def __init__(self) -> None:
        self._found = {
            name: ref(obj)
            for name, obj in vars(sys.modules["__main__"]).copy().items()
            if isinstance(obj, (FunctionType, type))
        }

    def has(self, obj: Any) -> bool:
        """Whether they find this function or class of the main module by its name."""
        name, *parts = obj.__qualname__.split(".")
        found: Any = self._found[name]() if name in self._found else None
        if found is not getattr(sys.modules["__main__"], name, None):
            return False
        for part in parts:
            found = getattr(found, part, None)
        return found is obj

    def may_lack(self, pickled: bytes) -> bool:
        """Whether a pickle may name something that they do not find; a quick look."""
        if b"__main__" not in pickled:
            return False
        if has_file():
            return may_be_guarded(pickled)
        here = vars(sys.modules["__main__"]).copy().items()
        return any(
            isinstance(obj, (FunctionType, type)) and not self._has_named(name, obj) for name, obj in here
        )

    def _has_named(self, name: str, obj: Any) -> bool:
        known = self._found.get(name)
        return known is not None and known() is obj


def may_be_unknown(pickled: bytes, finds_main: "bool | Forked") -> bool:
    """Whether a pickle may name something of the main module that its reader does not find; a quick look."""
    if isinstance(finds_main, Forked):
        return finds_main.may_lack(pickled)
    return may_be_guarded(pickled) if finds_main else b"__main__" in pickled


def is_found(obj: Any, finds_main: "bool | Forked") -> bool:
    """Whether the reader finds this function or class of the main module."""
    if isinstance(finds_main, Forked):
        return finds_main.has(obj)
    return finds_main and not is_guarded(obj)


def may_be_guarded(pickled: bytes) -> bool:
    """Whether a pickle may name something that stands under the guard; a quick look, for all that are started."""
    return b"__main__" in pickled and any(name in pickled for block in _here() for name in block.names)


def is_guarded(obj: Any) -> bool:
    """Whether this function or class of the main module stands under the guard."""
    lines = [line for line in _lines_of(obj) if line]
    return bool(lines) and any(block.first <= min(lines) <= block.last for block in _here())


def _lines_of(obj: Any) -> Iterator[int]:
    if isinstance(obj, FunctionType):
        yield obj.__code__.co_firstlineno
    else:
        for part in vars(obj).values():
            function = getattr(part, "__func__", part)
            if isinstance(function, FunctionType) and function.__module__ == obj.__module__:
                yield function.__code__.co_firstlineno
        yield getattr(obj, "__firstlineno__", 0)  # Python 3.13
