"""How processes live and end, printed by a program that both implementations run: `python lives.py MODULE METHOD`."""

import importlib
import os
import resource
import select
import signal
import sys
import threading
import time

mp = importlib.import_module(sys.argv[1])
connection = importlib.import_module(f"{sys.argv[1]}.connection")
PATIENCE = 30


def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def finished(target=None, *args, **options):
    child = mp.Process(target=target, args=args, **options)
    child.start()
    child.join()
    say(getattr(target, "__name__", target), child.exitcode, child.is_alive(), repr(child))
    return child


# ---- ways to end --------------------------------------------------------------------


def exit_with(how):
    sys.exit(how)


def leave_at_once():
    os._exit(17)


def die_by(number):
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGABRT, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    time.sleep(PATIENCE)


def fail():
    raise LookupError("nothing there")


def fail_with_a_cause():
    try:
        fail()
    except LookupError as error:
        raise ValueError("something else") from error


class OwnError(Exception):
    def __init__(self, one, two):
        super().__init__(one)
        self.two = two


def fail_in_its_own_way():
    raise OwnError(1, 2)


def interrupt_itself():
    raise KeyboardInterrupt


def write_and_end():
    print("buffered")
    sys.stderr.write("on stderr\n")


def sleep():
    time.sleep(PATIENCE)


def sleep_deaf(is_deaf):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say("deaf")
    is_deaf.set()
    time.sleep(PATIENCE)


def end_by_threads():
    threading.Thread(target=time.sleep, args=(0.05,)).start()
    threading.Thread(target=sleep, daemon=True).start()


class Exiting(mp.Process):
    def __init__(self, code):
        super().__init__(name="its name")
        self.code = code

    def run(self):
        say("runs", self.code, self.name, self._target)
        sys.exit(self.code)


def ways_to_end():
    for how in (0, 1, 42, 255, 256, -1, None, "text", True, 1.5):
        finished(exit_with, how)
    finished(leave_at_once)
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGABRT, signal.SIGUSR1, signal.SIGINT):
        finished(die_by, int(number))
    for target in (
        fail,
        fail_with_a_cause,
        fail_in_its_own_way,
        interrupt_itself,
        write_and_end,
        end_by_threads,
    ):
        finished(target, name="Ending")
    finished()
    child = Exiting(7)
    child.start()
    child.join()
    say(child.exitcode, repr(child))


def ended_by_others():
    for method in ("terminate", "kill"):
        child = mp.Process(target=sleep)
        child.start()
        say(child.is_alive(), child.exitcode, child.pid == child.ident, repr(child))
        say(getattr(child, method)())
        child.join()
        getattr(child, method)()
        say(child.exitcode, repr(child))
    is_deaf = mp.Event()
    child = mp.Process(target=sleep_deaf, args=(is_deaf,))
    child.start()
    is_deaf.wait(PATIENCE)
    child.terminate()
    child.join(0.3)
    child.kill()
    child.join()
    say(child.exitcode)


# ---- waiting -------------------------------------------------------------------------


def wait_for(conn):
    conn.recv()


def waiting():
    here, there = mp.Pipe()
    child = mp.Process(target=wait_for, args=(there,), name="waits")
    child.start()
    say(
        type(child.sentinel), select.select([child.sentinel], [], [], 0), connection.wait([child.sentinel], 0)
    )
    for timeout in (0, -1, 0.0, 0.05):
        say(child.join(timeout), child.is_alive(), child.exitcode, mp.active_children())
    here.send(None)
    say(
        connection.wait([child.sentinel, here], PATIENCE)
        in ([child.sentinel], [here], [child.sentinel, here])
    )
    # The standard library's handle of a forkserver's child loses the exit code when several threads wait for it.
    threads = [threading.Thread(target=child.join) for _ in range(1 if sys.argv[2] == "forkserver" else 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    say(child.exitcode, child.join(), child.join(0), mp.active_children(), repr(child))
    say(bool(connection.wait([child.sentinel], PATIENCE)))
    child.close()
    say(repr(child))


def many():
    children = [mp.Process(target=exit_with, args=(number,)) for number in range(12)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    say([child.exitcode for child in children])


# ---- relatives -----------------------------------------------------------------------


def have_a_child(depth):
    if depth:
        child = mp.Process(target=have_a_child, args=(depth - 1,))
        child.start()
        child.join()
        sys.exit(child.exitcode + 1)
    sys.exit(5)


def watch_parent(conn):
    parent = mp.parent_process()
    conn.send((parent.is_alive(), parent.name))
    parent.join(PATIENCE)
    conn.send(parent.is_alive())
    conn.close()


def leave_a_child(conn, go):
    child = mp.Process(target=watch_parent, args=(conn,))
    child.start()
    conn.close()
    go.recv()
    os._exit(3)


def relatives():
    finished(have_a_child, 2)
    (here, there), (go, wait) = mp.Pipe(), mp.Pipe()
    child = mp.Process(target=leave_a_child, args=(there, wait), name="middle")
    child.start()
    there.close()
    say(here.recv())
    go.send(None)
    say(here.recv())
    child.join()
    say(child.exitcode)


if __name__ == "__main__":
    mp.set_start_method(sys.argv[2])
    ways_to_end()
    ended_by_others()
    waiting()
    many()
    relatives()
