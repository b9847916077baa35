"""The exit status of a process that is not our child, from the kernel that keeps it (Linux 6.15).

`ioctl(pidfd, PIDFD_GET_INFO)` fills a `struct pidfd_info`; with PIDFD_INFO_EXIT in the mask
it has the wait status of a process that has been collected, for as long as somebody
has a pidfd of it.
"""

import fcntl
import os
import struct
from typing import Final

_INFO: Final = struct.Struct("=QQ11Ii")  # mask, cgroup id, eleven ids, exit status: 64 bytes
_GET_INFO: Final = 0xC000_0000 | _INFO.size << 16 | 0xFF << 8 | 11
_EXIT: Final = 1 << 3


def of_pidfd(pidfd: int) -> int | None:
    """The exit code, as Python's; None when the kernel does not tell."""
    asked = bytearray(_INFO.pack(_EXIT, *(0,) * 13))
    try:
        fcntl.ioctl(pidfd, _GET_INFO, asked)
    except OSError:
        return None
    mask, *_, status = _INFO.unpack(asked)
    return os.waitstatus_to_exitcode(status) if mask & _EXIT else None
