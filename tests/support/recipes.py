"""What programs do with multiprocessing beside its documentation: `python recipes.py MODULE METHOD`, compared on both."""

import importlib
import io
import os
import pickle
import sys
from typing import ClassVar

mp = importlib.import_module(sys.argv[1])
pool_module, process, reduction, util, context = (
    importlib.import_module(f"{sys.argv[1]}.{name}")
    for name in ("pool", "process", "reduction", "util", "context")
)


def square(x):
    return x * x


# ---- pools whose workers may have children ------------------------------------------


class NoDaemonProcess(type(mp.get_context(sys.argv[2]).Process())):
    """Says that it is no daemon, whatever the pool makes it."""

    @property
    def daemon(self):
        return False

    @daemon.setter
    def daemon(self, value):
        pass


class NoDaemonContext(type(mp.get_context(sys.argv[2]))):
    Process = NoDaemonProcess


class NestablePool(pool_module.Pool):
    def __init__(self, *args, **kwargs):
        kwargs["context"] = NoDaemonContext()
        super().__init__(*args, **kwargs)


class PoolWithProcessMethod(pool_module.Pool):
    @staticmethod
    def Process(ctx, *args, **kwds):
        return NoDaemonProcess(*args, **kwds)


def map_in_a_pool(numbers):
    with mp.get_context(sys.argv[2]).Pool(2) as pool:
        return pool.map(square, numbers)


def nested_pools():
    for make in (NestablePool, PoolWithProcessMethod):
        with make(2) as pool:
            print(make.__name__, pool.map(map_in_a_pool, [[1, 2], [3]]))
            pool.close()
            pool.join()


def undo_daemon():
    mp.current_process()._config["daemon"] = False
    child = mp.Process(target=print, args=("a daemon's child",))
    child.start()
    child.join()


def daemons_with_children():
    child = mp.Process(target=undo_daemon, daemon=True)
    child.start()
    child.join()
    print(child.exitcode, child._config.get("daemon"), mp.current_process()._config.get("daemon"))


# ---- looking inside --------------------------------------------------------------------


def inside_a_pool():
    with mp.Pool(2) as pool:
        pids = {worker.pid for worker in pool._pool}
        print(
            len(pool._pool),
            pool._processes,
            pool._state,
            len(pids),
            all(worker.is_alive() for worker in pool._pool),
        )
        print(
            pool._pool[0].exitcode,
            {child.pid for child in mp.active_children()} >= pids,
            pool._ctx is not None,
        )
        pool.close()
        pool.join()
        print(pool._state, [worker.exitcode for worker in pool._pool])


def inside_a_process():
    child = mp.Process(target=square, args=(3,), kwargs={}, name="inside")
    print(
        child._target is square,
        child._args,
        child._kwargs,
        child._parent_pid == os.getpid(),
        child._popen,
        child._name,
    )
    child.start()
    print(child._popen.pid == child.pid, child in process._children, child._identity[-1] > 0, child._closed)
    print(child._popen.wait(), child._popen.poll(), child._popen.returncode, child.exitcode)
    print(child in process._children, mp.active_children(), child in process._children)


def inside_locks():
    lock, rlock, semaphore = mp.Lock(), mp.RLock(), mp.Semaphore(3)
    with lock, rlock:
        print(
            lock._semlock._is_mine(),
            rlock._semlock._count(),
            semaphore._semlock._get_value(),
            lock._semlock._is_zero(),
        )
    print(lock._semlock.kind, rlock._semlock.kind, semaphore._semlock.maxvalue > 2**30)


# ---- changing what the library does ---------------------------------------------------


class Reducer(reduction.AbstractReducer):
    """A pickler of one's own."""

    class ForkingPickler(reduction.ForkingPickler):
        def __init__(self, *args):
            super().__init__(args[0], 4)

        @classmethod
        def dumps(cls, obj, protocol=4):
            return reduction.ForkingPickler.dumps(obj, protocol)

    dumped: ClassVar = []

    @staticmethod
    def dump(obj, file, protocol=4):
        Reducer.dumped.append(type(obj).__name__)
        Reducer.ForkingPickler(file).dump(obj)


def a_reducer_of_ones_own():
    ctx = mp.get_context(sys.argv[2])
    before = ctx.reducer
    ctx.reducer = Reducer()
    print(type(ctx.reducer).__name__, type(mp.get_context().reducer).__name__)
    child = ctx.Process(target=square, args=(2,))
    child.start()
    child.join()
    print(child.exitcode, sorted(Reducer.dumped))
    ctx.reducer = before


class Handle:
    """Travels by a reducer that is registered for it."""

    def __init__(self, number):
        self.number = number

    def __reduce__(self):
        raise TypeError("handles do not pickle")


def reduce_handle(handle):
    return Handle, (handle.number + 1,)


def tell_handle(handle):
    print("handle", handle.number)


def registered_reducers():
    reduction.ForkingPickler.register(Handle, reduce_handle)
    child = mp.Process(target=tell_handle, args=(Handle(1),))
    child.start()
    child.join()
    print(child.exitcode, pickle.loads(reduction.ForkingPickler.dumps(Handle(5))).number)


class Traced:
    """What coverage and tracers do: they put something in front of a child's code."""

    def __init__(self):
        self.original = process.BaseProcess._bootstrap

    def __enter__(self):
        original = self.original

        def bootstrap(self, *args, **kwargs):
            print("before the child's code", flush=True)
            try:
                return original(self, *args, **kwargs)
            finally:
                print("after the child's code", flush=True)

        process.BaseProcess._bootstrap = bootstrap

    def __exit__(self, *_):
        process.BaseProcess._bootstrap = self.original


def patched_bootstrap():
    with Traced():
        child = mp.Process(target=print, args=("the child's code",))
        child.start()
        child.join()
    print(child.exitcode)


def spawning():
    print(
        context.get_spawning_popen(),
        util._args_from_interpreter_flags() == [],
        os.getcwd() == process.ORIGINAL_DIR,
    )
    try:
        context.assert_spawning(io.StringIO())
    except RuntimeError as error:
        print(error)


if __name__ == "__main__":
    mp.set_start_method(sys.argv[2])
    if (
        sys.argv[2] != "forkserver"
    ):  # whose launcher asks the standard library's reducer for more than there is
        a_reducer_of_ones_own()  # first: the standard library binds its reducer when it starts its first child
    for recipe in (
        nested_pools, daemons_with_children, inside_a_pool, inside_a_process, inside_locks, registered_reducers,
        patched_bootstrap, spawning,
    ):  # fmt: skip
        print(f"--- {recipe.__name__}", flush=True)
        recipe()
        sys.stdout.flush()
