"""Bad uses of the module's surface, each of which prints what it gets: `python misuse.py MODULE METHOD`.

Run on both implementations; the outputs must be equal, but for pids and counts.
"""

# ruff: noqa: PLW0108  lambdas also where a method would do: the list reads as calls

import importlib
import logging
import pickle
import sys
import time

mp = importlib.import_module(sys.argv[1])
util = importlib.import_module(f"{sys.argv[1]}.util")

CASES = []


def case(body):
    """One misuse: what it returns or raises is printed under its name."""
    CASES.append(body)
    return body


def outcome(body, *args):
    try:
        value = body(*args)
    except BaseException as error:
        cause = f" from {error.__cause__!r}" if error.__cause__ else ""
        return f"raises {type(error).__module__}.{type(error).__qualname__}: {error}{cause}"
    return f"returns {value!r}"


def all_of(*bodies):
    return [outcome(body) for body in bodies]


def sleep():
    time.sleep(60)


def finished(target=int, **options):
    child = mp.Process(target=target, **options)
    child.start()
    child.join()
    return child


# ---- start methods and contexts ---------------------------------------------


@case
def start_methods_that_do_not_exist():
    return all_of(
        lambda: mp.get_context("nope"),
        lambda: mp.get_context(3),
        lambda: mp.get_context([]),
        lambda: mp.get_context("fork").get_context("nope"),
        lambda: mp.get_context("spawn").get_context(""),
        lambda: mp.set_start_method("nope", force=True),
        lambda: mp.get_context("thread"),
        lambda: mp.get_start_method(),
    )


@case
def a_start_method_that_is_set_already():
    return all_of(
        lambda: mp.set_start_method("fork"),
        lambda: mp.set_start_method("nope"),
        lambda: mp.set_start_method(None),
        lambda: mp.set_start_method(),
        lambda: mp.set_start_method("fork", True, 1),
        mp.get_start_method,
    )


@case
def a_concrete_context():
    ctx = mp.get_context("spawn")
    return all_of(
        lambda: ctx.set_start_method("fork"),
        lambda: ctx.set_start_method("spawn", force=True),
        lambda: ctx.get_start_method(),
        lambda: ctx.get_start_method(allow_none=True),
        lambda: ctx.get_context() is ctx,
    )


@case
def settings_of_the_wrong_type():
    return all_of(
        lambda: mp.set_forkserver_preload(3),
        lambda: mp.set_forkserver_preload([3]),
        lambda: mp.set_forkserver_preload(),
        lambda: mp.set_executable(3),
        lambda: mp.set_executable(),
        lambda: mp.log_to_stderr("loud"),
        lambda: mp.cpu_count(1),
        lambda: mp.allow_connection_pickling(),
        lambda: mp.freeze_support(),
        lambda: mp.get_all_start_methods(1),
    )


# ---- processes ----------------------------------------------------------------


@case
def arguments_of_a_process():
    return all_of(
        lambda: mp.Process(group=1),
        lambda: mp.Process(args=3),
        lambda: mp.Process(kwargs=3),
        lambda: mp.Process(tagret=int),
        lambda: mp.Process(None, int, "name", (), {}, True),
        lambda: mp.Process(name=3).name,
        lambda: setattr(mp.Process(), "name", 3),
        lambda: setattr(mp.Process(), "authkey", "text"),
        lambda: setattr(mp.Process(), "pid", 3),
        lambda: setattr(mp.Process(), "exitcode", 3),
        lambda: mp.Process(daemon=3).daemon,
        lambda: mp.Process(args=[1], kwargs=[("a", 1)])._kwargs,
    )


@case
def a_process_that_was_not_started():
    process = mp.Process(target=int)
    uses = ["join", "is_alive", "terminate", "kill", "close"]
    found = [outcome(lambda: getattr(process, attribute)) for attribute in ("sentinel", "exitcode", "pid")]
    found += [outcome(lambda: getattr(process, use)()) for use in uses]
    return [*found, outcome(lambda: process.join(1)), repr(process)]


@case
def starting_twice():
    running = mp.Process(target=sleep)
    running.start()
    ended = finished()
    found = all_of(running.start, ended.start, lambda: setattr(running, "daemon", True), running.close)
    running.kill()
    running.join()
    return [*found, running.exitcode, outcome(running.kill), outcome(running.start), repr(running)]


@case
def joining_for_too_odd_a_time():
    running = mp.Process(target=sleep)
    running.start()
    found = all_of(
        lambda: running.join("soon"), lambda: running.join([]), lambda: running.join(-1), running.is_alive
    )
    running.terminate()
    running.join()
    return [*found, running.exitcode]


@case
def a_closed_process():
    process = finished()
    process.close()
    uses = ["start", "join", "is_alive", "terminate", "kill", "close"]
    found = [
        outcome(lambda: getattr(process, attribute)) for attribute in ("sentinel", "exitcode", "pid", "ident")
    ]
    found += [outcome(lambda: getattr(process, use)()) for use in uses]
    return [*found, outcome(lambda: process.name), outcome(lambda: process.daemon), repr(process)]


def misuse_a_relative(conn, relative):
    conn.send([outcome(use) for use in (relative.start, relative.join, relative.is_alive, relative.close)])
    conn.send(repr(relative))


@case
def a_process_of_another_process():
    if mp.get_start_method() != "fork":
        return "a process object cannot be pickled"
    here, there = mp.Pipe()
    sibling = finished()
    child = mp.Process(target=misuse_a_relative, args=(there, sibling))
    child.start()
    found = [here.recv(), here.recv()]
    child.join()
    return [*found, child.exitcode]


@case
def the_parent_process():
    here, there = mp.Pipe()
    child = mp.Process(target=misuse_the_parent, args=(there,))
    child.start()
    found = here.recv()
    child.join()
    return [*found, child.exitcode, mp.parent_process()]


def misuse_the_parent(conn):
    parent = mp.parent_process()
    uses = (
        parent.start,
        parent.close,
        parent.terminate,
        parent.kill,
        lambda: parent.exitcode,
        parent.is_alive,
    )
    conn.send(
        [*map(outcome, uses[:1]), outcome(uses[-1]), outcome(lambda: parent.join("soon")), repr(parent)]
    )


@case
def the_process_that_runs():
    me = mp.current_process()
    return all_of(
        me.start, me.join, me.is_alive, me.close, lambda: me.sentinel, lambda: me.exitcode, lambda: me
    )


def have_a_child(conn):
    conn.send(outcome(mp.Process(target=int).start))


@case
def a_daemons_child():
    here, there = mp.Pipe()
    child = mp.Process(target=have_a_child, args=(there,), daemon=True)
    child.start()
    found = here.recv()
    child.join()
    return found, child.exitcode


# ---- pickles ------------------------------------------------------------------


@case
def pickles_of_what_is_not_to_travel():
    return all_of(
        lambda: pickle.dumps(mp.current_process().authkey),
        lambda: pickle.dumps(mp.Process(target=int)),
        lambda: pickle.dumps(finished()),
        lambda: type(mp.current_process().authkey),
        lambda: bytes(mp.Process().authkey) == bytes(mp.current_process().authkey),
    )


def tell_authkeys(conn):
    me = mp.current_process()
    conn.send((bytes(me.authkey), me.authkey == mp.Process().authkey, type(me.authkey).__name__))


@case
def authkeys_are_inherited():
    here, there = mp.Pipe()
    child = mp.Process(target=tell_authkeys, args=(there,))
    child.authkey = b"secret"
    child.start()
    found = here.recv()
    child.join()
    return found


# ---- util -----------------------------------------------------------------------


@case
def finalizers():
    calls = []

    class Owner:
        pass

    owner = Owner()
    bound = util.Finalize(owner, calls.append, args=("owner",), exitpriority=1)
    free = util.Finalize(None, calls.append, args=("free",), exitpriority=2)
    found = [bound.still_active(), free.still_active(), repr(free)]
    del owner
    found += [bound.still_active(), bound(), free(), free(), free.still_active(), free.cancel(), repr(free)]
    return [*found, calls]


@case
def finalizers_that_cannot_be():
    return all_of(
        lambda: util.Finalize(None, int),
        lambda: util.Finalize(None, int, exitpriority="first"),
        lambda: util.Finalize(3, int),
        lambda: util.Finalize(None, int, exitpriority=1).cancel(),
        lambda: util.register_after_fork(3, int),
        lambda: util.register_after_fork(util),
        lambda: util.is_exiting(),
        lambda: util.get_temp_dir() == util.get_temp_dir(),
    )


@case
def the_logger():
    logger = mp.get_logger()
    return [
        logger is util.get_logger() is mp.get_context("fork").get_logger(),
        (logger.name, logger.level, logger.propagate, util.SUBDEBUG, util.SUBWARNING),
        mp.log_to_stderr(logging.CRITICAL) is logger,
        (logger.level, [type(handler).__name__ for handler in logger.handlers]),
        outcome(lambda: util.info("unheard")),
        logging.getLevelName(util.SUBDEBUG),
    ]


if __name__ == "__main__":
    mp.set_start_method(sys.argv[2])
    for body in CASES:
        name = body.__name__
        print(f"{name}: {outcome(body)}", flush=True)
