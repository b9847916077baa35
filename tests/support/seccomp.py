"""Makes the kernel refuse a system call to this process and its children, with an error of choice, for good."""

import ctypes
import errno
import platform
import struct
from typing import Final

_X86_64, _AARCH64 = "x86_64", "aarch64"
NUMBERS: Final = {
    "memfd_create": {_X86_64: 319, _AARCH64: 279},
    "fallocate": {_X86_64: 285, _AARCH64: 47},
    "ftruncate": {_X86_64: 77, _AARCH64: 46},
    "fcntl": {_X86_64: 72, _AARCH64: 25},
    "madvise": {_X86_64: 28, _AARCH64: 233},
    "mmap": {_X86_64: 9, _AARCH64: 222},
    "prctl": {_X86_64: 157, _AARCH64: 167},
    "mkdir": {_X86_64: 83, _AARCH64: 34},
    "futex": {_X86_64: 202, _AARCH64: 98},
    "ioctl": {_X86_64: 16, _AARCH64: 29},
    "pidfd_open": {_X86_64: 434, _AARCH64: 434},
    "openat": {_X86_64: 257, _AARCH64: 56},
}

# Classic BPF: load a word of seccomp_data, jump on it, return.
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NUMBER = 0  # offset of the call's number in seccomp_data
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2


def _argument(index: int, *, high: bool = False) -> int:
    return 16 + 8 * index + (4 if high else 0)


def refuse(call: str, error: int = errno.EPERM, *, argument: int = 0, equals: int | None = None) -> None:
    """Every `call` fails with `error`; with `equals`, only those whose argument (its low half) has that value."""
    tests = [] if equals is None else [(_EQUAL, _argument(argument), equals)]
    _install(call, error, tests)


def refuse_large_maps(error: int = errno.ENOMEM) -> None:
    """mmap() of 4 GiB or more fails, as where the system promises no memory that it has not."""
    _install("mmap", error, [(_AT_LEAST, _argument(1, high=True), 1)])


def refuse_temporary_files(error: int = errno.EOPNOTSUPP) -> None:
    """open() with O_TMPFILE fails."""
    _install("openat", error, [(_ANY_BIT, _argument(2), 0o20000000)])


def _install(call: str, error: int, tests: list[tuple[int, int, int]]) -> None:
    number = NUMBERS[call][platform.machine()]
    program = [(_LOAD, 0, 0, _NUMBER), (_EQUAL, 0, 2 * len(tests) + 1, number)]
    for left, (jump, offset, value) in zip(range(len(tests) - 1, -1, -1), tests, strict=True):
        program += [(_LOAD, 0, 0, offset), (jump, 0, 2 * left + 1, value)]
    program += [(_RETURN, 0, 0, _ERRNO | error), (_RETURN, 0, 0, _ALLOW)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        _PR_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(header), 0, 0
    ):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_SECCOMP)")
