"""How a worker is, or was when it died, as far as that can be known."""

import resource


def resident(pid: int) -> int:
    """Bytes of memory that a process has now; 0 when it has ended."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:  # noqa: PTH123
            return int(file.read().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


def is_stopped(pid: int) -> bool:
    """Whether somebody has stopped a process (SIGSTOP, or job control)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            return file.read().rpartition(b") ")[2][:1] == b"T"
    except OSError:
        return False
