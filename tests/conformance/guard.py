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
    "multiprocessing.context": ("Process", "ForkProcess", "SpawnProcess", "ForkServerProcess"),
}


def note(made, frame):
    while frame is not None and frame.f_globals.get("__name__", "").startswith("multiprocessing."):
        frame = frame.f_back
    where = "?" if frame is None else "%s:%d" % (frame.f_globals.get("__name__", "?"), frame.f_lineno)
    fd = os.open(os.environ["CONFORMANCE_GUARD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(fd, ("%s\t%s\n" % (made, where)).encode())
    finally:
        os.close(fd)


def watch(module):
    for name in CLASSES[module.__name__]:
        cls = getattr(module, name, None)
        # Popen is a name of many classes; only those that run a process themselves count.
        if cls is not None and "__init__" in cls.__dict__ or name in ("JoinableQueue",):
            wrap(cls, "%s.%s" % (module.__name__, name))
        elif cls is not None:
            wrap_inherited(cls, "%s.%s" % (module.__name__, name))


def wrap(cls, label):
    real = cls.__init__

    def __init__(self, *args, **kwargs):
        # A subclass that says `super().__init__()` makes one object, and is named itself when it is watched too.
        if type(self) is cls or not type(self).__module__.startswith("multiprocessing."):
            note(label, sys._getframe(1))
        real(self, *args, **kwargs)

    __init__.__wrapped__ = real
    __init__.__doc__ = real.__doc__
    __init__.__qualname__ = real.__qualname__
    cls.__init__ = __init__


def wrap_inherited(cls, label):
    def __init__(self, *args, **kwargs):
        if type(self) is cls:
            note(label, sys._getframe(1))
        super(cls, self).__init__(*args, **kwargs)

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
