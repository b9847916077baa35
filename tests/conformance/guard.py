"""Notes each standard-library object that is made where procession is meant to make its own.

Started in every process of the suite by a .pth file, before anything else is imported. It changes no behaviour: the
constructors of multiprocessing's classes append a line to the file named by CONFORMANCE_GUARD, then go on. The gate
(gate.py) compares these lines with fallthrough.txt.

A line: what was made, a tab, the code that asked for it. `_multiprocessing.SemLock` says also for which class.
"""

import importlib.abc
import importlib.machinery
import os
import sys

CLASSES = {
    "multiprocessing.synchronize": (
        "Lock",
        "RLock",
        "Semaphore",
        "BoundedSemaphore",
        "Condition",
        "Event",
        "Barrier",
    ),
    "multiprocessing.queues": ("Queue", "JoinableQueue", "SimpleQueue"),
    "multiprocessing.pool": ("Pool",),
    "multiprocessing.connection": ("Connection", "Listener"),
    "multiprocessing.sharedctypes": ("SynchronizedBase",),
    "multiprocessing.heap": ("Heap", "BufferWrapper"),
    "multiprocessing.shared_memory": ("SharedMemory",),
    "multiprocessing.managers": ("BaseManager",),
    "multiprocessing.popen_fork": ("Popen",),
    "multiprocessing.popen_forkserver": ("Popen",),
    "multiprocessing.popen_spawn_posix": ("Popen",),
    "multiprocessing.context": ("Process", "ForkProcess", "SpawnProcess", "ForkServerProcess"),
}

# They make one semaphore to see whether the system has any; joblib when test_import imports procession.joblib.
LOOKS_FOR_SEMAPHORES = ("test.support", "joblib._multiprocessing_helpers")


def note(made, frame):
    while frame is not None and frame.f_globals.get("__name__", "").startswith(
        ("multiprocessing.", "conf_guard")
    ):
        frame = frame.f_back
    if frame is not None and frame.f_globals.get("__name__") in LOOKS_FOR_SEMAPHORES:
        return
    where = "?" if frame is None else "%s:%d" % (frame.f_globals.get("__name__", "?"), frame.f_lineno)
    fd = os.open(os.environ["CONFORMANCE_GUARD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(fd, ("%s\t%s\n" % (made, where)).encode())
    finally:
        os.close(fd)


WATCHED = {}  # class: its name


def watch(module):
    for name in CLASSES[module.__name__]:
        cls = getattr(module, name, None)
        if cls is not None and cls not in WATCHED:
            WATCHED[cls] = "%s.%s" % (module.__name__, name)
            wrap(cls)


def made_by_library(kind):
    """The class of a library that an instance is of: itself, or the nearest base of a user's class."""
    for base in kind.__mro__:
        if base.__module__.partition(".")[0] in ("multiprocessing", "procession"):
            return base
    return None


def wrap(cls):
    inherited = "__init__" not in cls.__dict__
    real = cls.__init__

    def __init__(self, *args, **kwargs):
        made = made_by_library(type(self))
        # The base of a watched class is watched too: the instance is noted once, under its own name.
        if made is cls or (
            made not in WATCHED
            and made is not None
            and made.__module__ != "procession"
            and not made.__module__.startswith("procession.")
        ):
            note(WATCHED[cls], sys._getframe(1))
        if inherited:
            super(cls, self).__init__(*args, **kwargs)
        else:
            real(self, *args, **kwargs)

    __init__.__doc__ = real.__doc__
    __init__.__qualname__ = real.__qualname__
    cls.__init__ = __init__


def watch_semlock():
    import _multiprocessing

    real = _multiprocessing.SemLock

    def owner():
        frame = sys._getframe(2)
        made_for = frame.f_locals.get("self")
        if made_for is not None and type(made_for).__module__ == "multiprocessing.synchronize":
            note("_multiprocessing.SemLock for multiprocessing.synchronize." + type(made_for).__name__, frame)
        else:
            note("_multiprocessing.SemLock", frame)

    class SemLock(real):
        def __new__(cls, *args, **kwargs):
            owner()
            return real.__new__(cls, *args, **kwargs)

    SemLock.__module__, SemLock.__qualname__ = real.__module__, real.__qualname__
    _multiprocessing.SemLock = SemLock


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name not in CLASSES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module):
                execute(module)
                watch(module)

            spec.loader.exec_module = exec_module
        return spec


if "CONFORMANCE_GUARD" in os.environ:
    watch_semlock()
    sys.meta_path.insert(0, Finder())
