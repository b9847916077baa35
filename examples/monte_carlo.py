"""Estimate pi with numpy in many processes, while one of them is shot; draw how much faster more of them are.

    python examples/monte_carlo.py

A callback in the parent adds up, a bar shows how far it is, and a worker that is killed on purpose
costs nothing: its task is run again, because that was asked for. The standard library's pool would
wait for it for ever.
"""

import argparse
import os
import signal
import time
from pathlib import Path

import matplotlib as mpl
import numpy as np

from procession import Pool, cpus

mpl.use("agg")
from matplotlib import pyplot as plt


def hits(seed, points, witness):
    """How many of so many random points in a square lie within its circle."""
    if seed == 3 and witness is not None and not Path(witness).exists():
        Path(witness).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    x, y = np.random.default_rng(seed).random((2, points))
    return int(np.count_nonzero(x * x + y * y <= 1.0))


def estimate(processes, tasks, points, witness=None, progress=None):
    """Pi, and the seconds that it took."""
    began = time.perf_counter()
    sums = []
    with Pool(processes) as pool:
        work = [(seed, points, witness) for seed in range(tasks)]
        extras = {"on_worker_death": "retry", "progress": progress}
        pool.starmap_async(hits, work, 1, callback=lambda counts: sums.append(sum(counts)), **extras).get()
    return 4 * sums[0] / (tasks * points), time.perf_counter() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-p", "--processes", type=int, default=cpus())
    parser.add_argument("-t", "--tasks", type=int, default=64)
    parser.add_argument("-n", "--points", type=int, default=300_000)
    parser.add_argument("-o", "--output", type=Path, default=Path("monte_carlo.png"))
    parser.add_argument("-q", "--quiet", action="store_true", help="no bar")
    arguments = parser.parse_args()

    witness = str(arguments.output) + ".shot"
    shot, _ = estimate(
        arguments.processes, arguments.tasks, arguments.points, witness, None if arguments.quiet else True
    )
    Path(witness).unlink()  # it is there: a worker was killed
    seconds = {}
    for processes in range(1, arguments.processes + 1):
        pi, seconds[processes] = estimate(processes, arguments.tasks, arguments.points)
        if pi != shot:
            raise SystemExit("the worker's death has changed the result")
    if abs(shot - np.pi) > 0.05:
        raise SystemExit(f"pi is not about {shot}")

    figure, axes = plt.subplots(figsize=(5, 3.5), layout="constrained")
    axes.plot(list(seconds), [seconds[1] / value for value in seconds.values()], "o-")
    axes.set(xlabel="workers", ylabel="times as fast as one", xticks=list(seconds))
    figure.savefig(arguments.output)
    print(f"pi is about {shot:.4f}, whoever was shot")


if __name__ == "__main__":
    main()
