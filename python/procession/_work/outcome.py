"""What a task raised, made ready to travel: with its traceback, and as something that can be pickled."""

import pickle
import traceback
from multiprocessing import pool as standard
from multiprocessing.reduction import ForkingPickler
from typing import Any

LONGEST = 4096
"""Characters of the text of one that is not."""


# The standard library's stubs leave these out.
ExceptionWithTraceback: Any = standard.ExceptionWithTraceback  # type: ignore[attr-defined]
MaybeEncodingError: Any = standard.MaybeEncodingError  # type: ignore[attr-defined]
RemoteTraceback: Any = standard.RemoteTraceback  # type: ignore[attr-defined]


class RemoteError(MaybeEncodingError):  # type: ignore[misc]
    """Stands for an exception of a task that does not survive pickling: its type's name, text and traceback."""

    __module__ = "procession.pool"

    def __init__(self, name: str, text: str, reason: str) -> None:
        super().__init__(reason, text)
        self.exc, self.value = reason, text
        self.name, self.text, self.reason = name, text, reason

    def __str__(self) -> str:
        return f"{self.name}: {self.text} (the exception itself could not be sent: {self.reason})"

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteError, (self.name, self.text, self.reason)


def encoding_error(refusal: Exception, value: object) -> Exception:
    """What is raised instead of a result that pickle has refused."""
    try:
        return MaybeEncodingError(refusal, value)  # type: ignore[no-any-return]
    except Exception as second:  # noqa: BLE001  its repr is anybody's code, or too deep
        nameless = f"{type(value).__qualname__} without a repr: {type(second).__name__}"
        return MaybeEncodingError(refusal, nameless)  # type: ignore[no-any-return]


def pickle_error(error: BaseException, *, with_traceback: bool = True) -> bytes:
    """The pickle of what a task raised, or of what stands for it."""
    sent: Any = ExceptionWithTraceback(error, error.__traceback__) if with_traceback else error
    try:
        pickled = bytes(ForkingPickler.dumps(sent))
        back = pickle.loads(pickled)
    except Exception as refusal:  # noqa: BLE001  an exception's pickling is anybody's code
        return _surrogate(error, refusal)
    if type(back) is not type(error):
        return _surrogate(error, TypeError(f"it comes back as {type(back).__name__}"))
    return pickled


def short_error(error: BaseException) -> bytes:
    """The same, of few enough bytes for any ring."""
    pickled = pickle_error(error)
    if len(pickled) <= 4 * LONGEST:
        return pickled
    return _surrogate(error, ValueError(f"{len(pickled)} bytes are too many here"))


def _surrogate(error: BaseException, refusal: Exception) -> bytes:
    kind = type(error)
    name = f"{kind.__module__}.{kind.__qualname__}" if kind.__module__ != "builtins" else kind.__qualname__
    surrogate = RemoteError(name, _text(error), f"{type(refusal).__name__}: {refusal}"[:LONGEST])
    for note in getattr(error, "__notes__", ()):
        surrogate.add_note(str(note)[:LONGEST])
    try:
        lines = traceback.format_exception(error)
    except Exception:  # noqa: BLE001  its __str__ is anybody's code, too
        lines = traceback.format_tb(error.__traceback__)
    return pickle.dumps(_Told(surrogate, "".join(lines)[-LONGEST:]))


def _text(error: BaseException) -> str:
    try:
        return str(error)[:LONGEST]
    except Exception as second:  # noqa: BLE001
        return f"<no text: {type(second).__name__}>"


class _Told:
    """A surrogate and the traceback that is its cause."""

    def __init__(self, error: BaseException, text: str) -> None:
        self.error, self.text = error, text

    def __reduce__(self) -> tuple[Any, ...]:
        return with_cause, (self.error, f'\n"""\n{self.text}"""')


def with_cause(error: BaseException, text: str) -> BaseException:
    """The error, with a remote traceback for its cause."""
    error.__cause__ = RemoteTraceback(text)
    return error
