"""Subclasses with an `__init__` of their own.

The core makes an object in `__new__`, from the arguments of the call. Those of a subclass with its own `__init__`
may be others; what is to be made stands in its call of `super().__init__()` only, as with the standard library's
classes. So such a subclass makes a blank object, and our `__init__` fills it in.
"""

from typing import Any, ClassVar, Protocol, Self

from procession._shared import handles


class _Face(Protocol):
    """What a class needs for its subclasses to be made blank."""

    @classmethod
    def _make_blank(cls, handle: handles.Handle | None, /) -> Any: ...


def _new_blank(cls: type[_Face], *_args: Any, _handle: handles.Handle | None = None, **_options: Any) -> Any:
    return cls._make_blank(_handle)


class Subclassable:
    """Of the classes that users subclass; each of them is a `face`."""

    _is_blank: ClassVar[bool] = False  # until our __init__ has run

    def __init_subclass__(cls, *, face: bool = False, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not face and "__init__" in vars(cls) and "__new__" not in vars(cls):
            cls.__new__ = staticmethod(_new_blank)  # type: ignore[assignment,method-assign]
            cls._is_blank = True

    @classmethod
    def _make_blank(cls, handle: handles.Handle | None, /) -> Self:
        """An object with nothing but defaults, or the one behind `handle`."""
        raise NotImplementedError
