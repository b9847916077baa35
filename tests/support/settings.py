"""What children inherit and run by themselves: `python settings.py MODULE METHOD`, compared on both implementations."""

import importlib
import logging
import os
import sys
import tempfile

mp = importlib.import_module(sys.argv[1])
util = importlib.import_module(f"{mp.__name__}.util")
process = importlib.import_module(f"{mp.__name__}.process")


def run(target, *args, **options):
    """A child that runs the target and has ended."""
    child = mp.Process(target=target, args=args, **options)
    child.start()
    child.join()
    return child.exitcode


def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


# ---- who is who -----------------------------------------------------------------


def tell_relatives(parents_pid, depth):
    me, parent = mp.current_process(), mp.parent_process()
    say(
        "child", me.name, me.daemon, type(me).__name__, me.pid == os.getpid(), me is process.current_process()
    )
    say("parent", parent.name, parent.pid == parents_pid, parent.ident == parents_pid, parent.is_alive())
    say("children", mp.active_children(), mp.get_start_method(), mp.get_start_method(allow_none=True))
    names = sorted(set(me._config) - {"tempdir"})  # the folder of the standard library's fork server
    say("identity", me._identity, me._parent_name, me._config["authkey"] == me.authkey, names)
    if depth:
        say(run(tell_relatives, os.getpid(), depth - 1, name=None, daemon=None))


def tell_of_a_custom_name():
    say(mp.current_process().name, logging.LogRecord("n", 1, "p", 1, "m", (), None).processName)
    mp.current_process().name = "renamed"
    say(mp.current_process().name, logging.LogRecord("n", 1, "p", 1, "m", (), None).processName)


# ---- finalizers and hooks ----------------------------------------------------------


class Hooked:
    def hear(self):
        say("after fork, first", mp.current_process().name)


def hear_later(_):
    say("after fork, second")


def finalize():
    def inner():
        say("finalizer made by a finalizer")

    for priority in (1, 10, 5, 10):
        util.Finalize(None, say, ("finalizer", priority), exitpriority=priority)
    util.Finalize(None, lambda: util.Finalize(None, inner, exitpriority=2), exitpriority=3)
    util.Finalize(None, lambda: 1 / 0, exitpriority=0)
    util.Finalize(None, say, ("priority below zero",), exitpriority=-5)
    say("active", util.is_exiting())


def finalize_and_exit():
    finalize()
    sys.exit(4)


def finalize_and_fail():
    util.Finalize(None, say, ("a finalizer runs",), exitpriority=1)
    raise LookupError("nothing there")


def leave_at_once():
    util.Finalize(None, say, ("no finalizer runs",), exitpriority=1)
    os._exit(5)


def tell_temporary_folder(parents):
    mine = util.get_temp_dir()
    say(
        "same temporary folder",
        mine == parents,
        os.path.isdir(mine),
        os.path.dirname(mine) == tempfile.gettempdir(),
    )


# ---- logging ------------------------------------------------------------------------


def log():
    logger = mp.get_logger()
    say("level", logger.level, [type(handler).__name__ for handler in logger.handlers])
    logger.warning("a warning")
    util.sub_debug("a detail")
    util.sub_warning("less than a warning")


# ---- interpreters ---------------------------------------------------------------------


def tell_interpreter():
    say(sys.argv, os.getcwd() == process.ORIGINAL_DIR, sys.stdin.read(), bool(sys.flags.dev_mode))
    say(
        sys.path == [part for part in sys.path if isinstance(part, str)],
        __name__,
        sys.modules["__main__"].__file__,
    )


def main():
    mp.set_start_method(sys.argv[2])
    say(run(tell_relatives, os.getpid(), 1))
    say(run(tell_relatives, os.getpid(), 0, name="named"))
    say(run(tell_relatives, os.getpid(), 0, daemon=True))
    say(run(tell_of_a_custom_name, name="custom"))

    hooked = Hooked()
    util.register_after_fork(hooked, Hooked.hear)
    util.register_after_fork(hear_later, hear_later)
    util.Finalize(None, say, ("the parent's finalizer",), exitpriority=1)
    for target in (finalize, finalize_and_exit, finalize_and_fail, leave_at_once):
        say(target.__name__, run(target, name="worker"))
    say(run(tell_temporary_folder, util.get_temp_dir()))

    logger = mp.log_to_stderr(logging.DEBUG)
    say(run(log, name="logs"))
    logger.setLevel(logging.ERROR)
    say(run(log, name="logs"))
    say(run(tell_interpreter))
    say(mp.active_children(), mp.current_process().name, mp.parent_process())


if __name__ == "__main__":
    main()
