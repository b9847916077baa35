"""On the path of every interpreter that scripts/programs.py starts: sets the start method, notes what procession makes."""

import os
import sys

if "PROGRAMS_START_METHOD" in os.environ:
    import multiprocessing

    multiprocessing.set_start_method(os.environ["PROGRAMS_START_METHOD"])

FACTORIES = (
    "Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore", "Event", "Barrier", "Value", "Array", "RawValue",
    "RawArray", "Queue", "JoinableQueue", "SimpleQueue", "Pipe", "Pool", "Manager",
)  # fmt: skip


def note(name):
    with open(os.environ["PROGRAMS_TRACE"], "a") as file:
        file.write(f"{name}\n")


def noted(name, make):
    def wrapper(*args, **kwargs):
        note(name)
        return make(*args, **kwargs)

    return wrapper


def watch_contexts(module):
    for name in FACTORIES:
        setattr(module.BaseContext, name, noted(name, getattr(module.BaseContext, name)))


def watch_processes():
    from multiprocessing import process

    start = process.BaseProcess.start

    def noting_start(self):
        ours = any(cls.__module__.startswith("procession") for cls in type(self).__mro__)
        start(self)
        if ours:
            note(f"Process ({self._popen.method})")

    process.BaseProcess.start = noting_start


class Finder:
    """Waits for procession's contexts."""

    def find_spec(self, name, path=None, target=None):
        if name != "procession.context":
            return None
        specs = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next(spec for spec in specs if spec is not None)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            watch_contexts(module)
            watch_processes()

        spec.loader.exec_module = exec_module
        return spec


if "PROGRAMS_TRACE" in os.environ:
    sys.meta_path.insert(0, Finder())
