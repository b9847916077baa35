"""Tasks for pools: importable by workers of every start method."""

import collections
import itertools
import os
import signal
import sys
import time


def square(x):
    return x * x


def lengthen(found):
    """Changes its argument; says how often that has been done."""
    found.append(0)
    return len(found)


def lengthen_also(found, _):
    return lengthen(found)


class Heavy:
    """Takes long to unpickle; notes each time in a file."""

    def __init__(self, path, seconds):
        self.path, self.seconds = path, seconds

    def __reduce__(self):
        return _unpack, (self.path, self.seconds)


def _unpack(path, seconds):
    note(path, os.getpid())
    time.sleep(seconds)
    return Heavy(path, seconds)


def seconds_of(heavy):
    return heavy.seconds


def pid_of_worker(_=None):
    return os.getpid()


def note(path, text):
    """One line in a file, whole."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{text}\n".encode())
    os.close(fd)


def noted_or_shot(path, x, victim):
    """Writes down that it ran; the victim is shot afterwards."""
    note(path, x)
    if x == victim:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def die(how):
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "exit":
        os._exit(7)
    elif how == "segv":
        os.kill(os.getpid(), signal.SIGSEGV)
    return how


def complain_and_die(lines, how):
    for number in range(lines):
        print(f"complaint {number}: ünïcode", file=sys.stderr)
    sys.stderr.flush()
    die(how)


def die_at(x, victim):
    if x == victim:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def die_once(path, x):
    """Dies the first time it is called with that path."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return x
    return os.kill(os.getpid(), signal.SIGKILL)


def fail_once(path, x):
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return x
    raise ValueError("the first time")


class OwnError(BaseException):
    pass


def raise_base(name):
    raise {
        "SystemExit": SystemExit(3),
        "KeyboardInterrupt": KeyboardInterrupt(),
        "OwnError": OwnError("mine"),
    }[name]


class Unpicklable(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


class Stubborn(Exception):
    def __reduce__(self):
        raise TypeError("never")


def raise_unpicklable(kind):
    raise Unpicklable("this", "that") if kind == "loads" else Stubborn("not me")


def raise_noted():
    error = ValueError("with a note")
    error.add_note("the note")
    raise error


def children_of_a_task(method):
    """What a worker's own pool and its own process do."""
    import procession

    ctx = procession.get_context(method)
    with ctx.Pool(2) as pool:
        squares = pool.map(square, range(4))
    child = ctx.Process(target=int)
    child.start()
    child.join()
    return squares, child.exitcode, procession.current_process().daemon


def fail_to_start():
    raise ValueError("the initializer's")


def die_at_start():
    os._exit(3)


def wait_for_file(path):
    while not os.path.exists(path):
        time.sleep(0.001)
    return path


def touch(path):
    open(path, "w").close()
    return path


def sleep_and_note(path):
    try:
        time.sleep(60)
    finally:
        note(path, "cleaned up")


def ignore_interrupts():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    time.sleep(60)


def swallow_interrupts():
    """Ends for no KeyboardInterrupt."""
    while True:
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            pass


def never_leave_c():
    """Runs in a loop of C code that holds the GIL and looks for no signals."""
    collections.deque(itertools.repeat(None), maxlen=0)


def large(n):
    return bytearray(n)


def length(data):
    return len(data)


def exit_by_system_exit(_):
    sys.exit(5)


def call(function):
    return function()


def raise_large(n):
    raise ValueError("x" * n)


def note_and_divide(path, x):
    note(path, x)
    return 1 // (x - 2)


def make_lock():
    import threading

    return threading.Lock()


def pickled(obj):
    import pickle

    return pickle.dumps(obj)


memory = []


def remember(value):
    memory.append(value)


def remembered(_):
    return memory[-1], os.getpid()


def noted_square(path, x):
    note(path, x)
    return x * x


def own_a_pool(path):
    import procession

    with procession.get_context("fork").Pool(3) as pool:
        pool.map(square, range(10))
        note(f"{path}.new", " ".join(str(process.pid) for process in pool._pool))
        os.rename(f"{path}.new", path)
        pool.map(time.sleep, [60] * 3, 1)


class Deadly:
    """Kills whoever unpickles it."""

    def __reduce__(self):
        return os._exit, (9,)


def first(one, _):
    return one


def touch_and_wait(began, gate):
    touch(began)
    return wait_for_file(gate)


def hold_memory(n):
    data = b"x" * n
    time.sleep(60)
    return data


def keep_memory(n):
    memory.append(b"x" * max(0, n - resident()))
    return os.getpid()


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def forks_and_comes_back_twice(way):
    """What a program does whose `exec` failed, or that forgot to end its child: the child's status."""
    child = os.fork()
    if child == 0:
        if way == "raises":
            raise ValueError("in the child")
        if way == "exits":
            sys.exit(5)
        return "of the child"
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Unreadable:
    """Pickles to what nobody can unpickle."""

    def __reduce__(self):
        return int, ("no number",)


def unreadable(_):
    return Unreadable()


def deep(_):
    """A result that pickle refuses, and repr too."""
    nested = []
    for _ in range(100_000):
        nested = [nested]
    return nested
