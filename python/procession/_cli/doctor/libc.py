"""The system calls that Python does not offer, through ctypes."""

import ctypes
import mmap
import os
import platform
from typing import Final

MADV_WIPEONFORK: Final = 18
PR_SET_PDEATHSIG: Final = 1
FALLOC_FL_KEEP_SIZE: Final = 1
FALLOC_FL_PUNCH_HOLE: Final = 2
FUTEX_WAIT: Final = 0
FUTEX_WAKE: Final = 1
_FUTEX: Final = {"x86_64": 202, "aarch64": 98}


def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int, call: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
    return result


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """Give or take a range of a file its memory."""
    call = _library().fallocate
    call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    _checked(call(fd, mode, offset, length), "fallocate")


class Page:
    """One page of a file, mapped without a descriptor of its own (which Python's maps have)."""

    def __init__(self, fd: int) -> None:
        call = _library().mmap
        call.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_int64]
        call.restype = ctypes.c_void_p
        self._at = call(None, mmap.PAGESIZE, 0, mmap.MAP_SHARED, fd, 0)
        if self._at == ctypes.c_void_p(-1).value:
            _checked(-1, "mmap")

    def advise(self, advice: int) -> None:
        call = _library().madvise
        call.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        _checked(call(self._at, mmap.PAGESIZE, advice), "madvise")

    def close(self) -> None:
        call = _library().munmap
        call.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        _checked(call(self._at, mmap.PAGESIZE), "munmap")


def prctl(option: int, argument: int) -> None:
    """Set something of this thread."""
    call = _library().prctl
    call.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    _checked(call(option, argument, 0, 0, 0), "prctl")


def futex(page: mmap.mmap, operation: int, value: int) -> int:
    """One futex call on the first word of a page, without a timeout."""
    number = _FUTEX.get(platform.machine())
    if number is None:
        raise OSError(0, f"nobody has told this check the number of futex on {platform.machine()}")
    call = _library().syscall
    call.argtypes = [ctypes.c_long, ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32, *[ctypes.c_void_p] * 2]
    call.restype = ctypes.c_long
    word = ctypes.c_uint32.from_buffer(page)
    try:
        return _checked(call(number, ctypes.addressof(word), operation, value, None, None), "futex")
    finally:
        del word  # else the page could not be closed
