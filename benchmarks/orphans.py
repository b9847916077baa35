"""How long workers live on when their parent is killed, and how long a tree takes to end.

    python benchmarks/orphans.py [--rounds 9] [--json FILE]

A program starts four daemons and is killed by SIGKILL; the figure is the time from that call until the last of them has
ended, told by their pidfds. Under the standard library they live on for ever, so there is no ratio: the bound is a second,
the aim 50 ms. The last rows kill a process with twenty descendants by `kill(tree=True)`.
"""

import argparse
import ctypes
import json
import os
import pathlib
import platform
import select
import signal
import statistics
import subprocess
import sys
import time

import procession

METHODS = ("fork", "spawn", "forkserver")
WORKERS = 4
LONG = 1000  # seconds
BOUND, AIM = 1.0, 0.05  # seconds


def say() -> None:
    os.write(1, b"%d\n" % os.getpid())


def sleep() -> None:
    say()
    time.sleep(LONG)


def hold_the_gil() -> None:
    say()
    ctypes.PyDLL(None).sleep(LONG)


def grow(depth: int) -> None:
    """Four children, and four of each of theirs."""
    say()
    if depth:
        for _ in range(4):
            if os.fork() == 0:
                grow(depth - 1)
                break
    time.sleep(LONG)


def play(scene: str, method: str) -> None:
    ctx = procession.get_context(method)
    if scene == "tree":
        root = ctx.Process(target=grow, args=(2,))
        root.start()
        sys.stdin.readline()
        root.kill(tree=True)
        root.join()
    else:
        for _ in range(WORKERS):
            ctx.Process(target=globals()[scene], daemon=True).start()
    time.sleep(LONG)


def once(scene: str, method: str) -> float:
    """Seconds from the kill to the last end."""
    command = [sys.executable, __file__, "--play", scene, method]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        expected = 21 if scene == "tree" else WORKERS
        pidfds = [os.pidfd_open(int(program.stdout.readline())) for _ in range(expected)]
        time.sleep(0.1)  # the last to speak is asleep too
        began = time.perf_counter()
        if scene == "tree":
            program.stdin.write(b"\n")
        else:
            program.kill()
        took = wait_for(pidfds, began)
        program.kill()
    return took


def wait_for(pidfds: list[int], began: float) -> float:
    for pidfd in pidfds:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(10_000):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    took = time.perf_counter() - began
    for pidfd in pidfds:
        os.close(pidfd)
    return took


def measure(work: str, scene: str, method: str, rounds: int) -> dict[str, object]:
    times = [once(scene, method) for _ in range(rounds)]
    median, worst = statistics.median(times), max(times)
    verdict = "met" if worst < BOUND and median < AIM else "*aim missed*" if worst < BOUND else "**short**"
    print(f"{work:<62} {method:<11} {median * 1e3:8.1f} ms {worst * 1e3:8.1f} ms  {verdict}", flush=True)
    return {"work": work, "method": method, "median": median, "worst": worst, "verdict": verdict}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--play", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.play:
        play(*options.play)
        return 0
    print(f"Python {platform.python_version()}, {options.rounds} rounds; median, worst; bound 1 s, aim 50 ms")
    rows = [
        measure(f"parent killed to last of {WORKERS} workers gone, {doing}", scene, method, options.rounds)
        for scene, doing in (("sleep", "asleep"), ("hold_the_gil", "in C with the GIL"))
        for method in METHODS
    ]
    rows += [
        measure("kill(tree=True) to last of 21 processes gone", "tree", method, options.rounds)
        for method in METHODS
    ]
    if options.json:
        facts = {"python": platform.python_version(), "rounds": options.rounds, "bound": BOUND, "aim": AIM}
        options.json.write_text(json.dumps({**facts, "rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
