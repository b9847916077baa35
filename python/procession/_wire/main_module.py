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
    """Whether there is a program that others may import; at a prompt, in a notebook and with `-c` there is not."""
    return isinstance(getattr(sys.modules["__main__"], "__file__", None), str)


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
