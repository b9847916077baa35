"""What tests of spawn and forkserver run in their children, which import it by name."""

import os
import signal
import sys
import threading
import time
from typing import Any

PATIENCE = 20.0  # seconds before a test gives up on a step that never comes


def exit_with(code: int) -> None:
    sys.exit(code)


def sleep() -> None:
    time.sleep(1000)


def die_by(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(PATIENCE)


def send_facts(conn: Any) -> None:
    """Everything about this process that a test may want to know."""
    import multiprocessing

    me, parent = multiprocessing.current_process(), multiprocessing.parent_process()
    assert parent is not None
    conn.send(
        {
            "pid": os.getpid(),
            "ppid": os.getppid(),
            "name": me.name,
            "parent": (parent.pid, parent.is_alive()),
            "fds": open_descriptors(),
            "threads": threading.active_count(),
            "cwd": os.getcwd(),
            "argv": sys.argv,
            "path": sys.path,
            "flags": tuple(sys.flags),
            "sigint": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
            "modules": sorted(sys.modules),
            "multiprocessing": set(dir(multiprocessing)),
            "main": getattr(sys.modules["__main__"], "__file__", None),
        }
    )


def open_descriptors() -> dict[int, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
    return found


def echo(conn: Any) -> None:
    """Send back whatever comes, until nothing does."""
    while True:
        try:
            conn.send(conn.recv())
        except EOFError:
            return


def wait_and_exit(event: Any, code: int = 0) -> None:
    assert event.wait(PATIENCE)
    sys.exit(code)


def count_up(lock: Any, value: Any, times: int) -> None:
    for _ in range(times):
        with lock:
            value.value += 1


def use_everything(things: dict[str, Any]) -> None:
    """One operation on each kind of shared object."""
    with things["lock"], things["rlock"], things["condition"], things["semaphore"], things["bounded"]:
        things["value"].value += 1
        things["raw"].value += 1
        things["array"][0] += 1
        things["rawarray"][1] += 1
    things["event"].set()
    things["barrier"].wait(PATIENCE)


def close_all(connections):
    for connection in connections:
        connection.send("here")
        connection.close()
