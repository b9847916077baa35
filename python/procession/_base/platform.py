"""Where procession runs, decided at import: a clear sentence now instead of a riddle later.

Kept free of imports that Python's start has not paid for already.
"""

import os
import sys

try:
    from _thread import _is_main_interpreter as is_main_interpreter  # type: ignore[attr-defined, unused-ignore]
except ImportError:  # Python 3.11
    from _xxsubinterpreters import get_current, get_main  # type: ignore[import-not-found, unused-ignore]

    def is_main_interpreter() -> bool:
        """Whether this is the interpreter that the process began with."""
        return bool(get_current() == get_main())


OLDEST_KERNEL = (5, 4)  # the first with pidfds that wait() understands
OLDEST_PYTHON = (3, 11)


def kernel_version(release: str) -> tuple[int, int]:
    """`(major, minor)` of a release such as `6.1.0-18-amd64`."""
    major, _, rest = release.partition(".")
    digits = ""
    for character in rest:
        if not character.isdigit():
            break
        digits += character
    return int(major), int(digits or 0)


def is_diagnosing() -> bool:
    """Whether this interpreter runs `procession doctor`, which is wanted most where procession cannot run."""
    match sys.orig_argv:
        case [*_, "-m", "procession", "doctor"] | [*_, "-m", "procession", "doctor", "--json"]:
            return True
        case [_, *_, command, "doctor"] | [_, *_, command, "doctor", "--json"]:
            return command.rpartition("/")[2] == "procession"
        case _:
            return False


def refusal() -> str | None:
    """Why procession cannot run here, as one sentence; None when it can."""
    if sys.platform != "linux":
        return f"procession runs on Linux only, and this is {sys.platform}"
    if sys.implementation.name != "cpython":
        return f"procession runs on CPython only, and this is {sys.implementation.name}"
    if sys.version_info < OLDEST_PYTHON:
        return (
            f"procession needs Python 3.11 or newer, and this is {sys.version_info[0]}.{sys.version_info[1]}"
        )
    release = os.uname().release
    if kernel_version(release) < OLDEST_KERNEL:
        return f"procession needs Linux 5.4 or newer, and this kernel is {release}"
    if not is_main_interpreter():
        return "procession works in the main interpreter only, and this is a subinterpreter"
    return None
