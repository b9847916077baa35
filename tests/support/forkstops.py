"""Stops a forked child before any other after-fork handler runs in it.

Handlers run in the order of their registration, so the tests' conftest imports this before anything of procession.
"""

import os

from stepping import stop_self

_tell: int | None = None  # where a child writes its pid before it stops; None: children are left alone


def stop_children(tell: int | None) -> None:
    global _tell
    _tell = tell


def _in_child() -> None:
    if _tell is not None:
        os.write(_tell, b"%d\n" % os.getpid())
        stop_self()


os.register_at_fork(after_in_child=_in_child)
