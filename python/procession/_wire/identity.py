"""Who this process and thread are, in the words a user knows them by."""

import threading
from multiprocessing import process


def current_name() -> str:
    """`MainProcess`, or `Process-1|Thread-2` outside the main thread."""
    name = process.current_process().name
    thread = threading.current_thread().name
    return name if thread == "MainThread" else f"{name}|{thread}"
