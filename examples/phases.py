"""Heat spreads over a plate, computed in phases: every process has some rows, a barrier ends each phase.

    python examples/phases.py -o heat.png           on multiprocessing
    procession run examples/phases.py -o heat.png   the same program on procession

The plate is a numpy array over shared memory, twice: a phase reads one and writes the
other. Nobody may begin a phase before all have ended the last one, which is what the
barrier is for; its action, run by one of them, counts the phases. The result is drawn
as a picture when matplotlib is installed.
"""

import argparse
import sys
from itertools import pairwise
from multiprocessing import Barrier, Process, RawArray, Value

import numpy as np


def plates(memory, size):
    """The two plates in shared memory, without a copy."""
    return np.frombuffer(memory).reshape(2, size, size)


def warm(memory, size):
    """Put a hot ring on a cold plate."""
    y, x = np.mgrid[:size, :size] / (size - 1) - 0.5
    radius = np.hypot(x, y)
    plates(memory, size)[:] = np.where(abs(radius - 0.3) < 0.05, 100.0, 0.0)


def phase(old, new, rows):
    """One step for some rows: each point moves towards the mean of its neighbours."""
    first, last = rows
    middle = old[first:last, 1:-1]
    around = old[first - 1 : last - 1, 1:-1] + old[first + 1 : last + 1, 1:-1]
    around += old[first:last, :-2] + old[first:last, 2:]
    new[first:last, 1:-1] = middle + 0.2 * (around - 4 * middle)


def work(memory, size, rows, phases, barrier):
    """Compute some rows in every phase."""
    plate = plates(memory, size)
    for turn in range(phases):
        phase(plate[turn % 2], plate[1 - turn % 2], rows)
        barrier.wait()


class Count:
    """The barrier's action."""

    def __init__(self, value):
        self.value = value

    def __call__(self):
        """One phase more."""
        self.value.value += 1


def spread(size, phases, processes):
    """The plate after so many phases, computed by so many processes, and the number of phases counted."""
    memory, done = RawArray("d", 2 * size * size), Value("i", 0)
    warm(memory, size)
    barrier = Barrier(processes, action=Count(done))
    edges = np.linspace(1, size - 1, processes + 1).astype(int)
    workers = [Process(target=work, args=(memory, size, rows, phases, barrier)) for rows in pairwise(edges)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return plates(memory, size)[phases % 2].copy(), done.value


def draw(plate, path):
    """Write the plate to a picture; False without matplotlib."""
    try:
        from matplotlib import image  # noqa: PLC0415  only who draws needs it
    except ImportError:
        return False
    image.imsave(path, plate, cmap="inferno")
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-s", "--size", type=int, default=300, help="points along an edge")
    parser.add_argument("-n", "--phases", type=int, default=400)
    parser.add_argument("-p", "--processes", type=int, default=4)
    parser.add_argument("-o", "--output", help="a PNG file for the picture")
    options = parser.parse_args()
    plate, counted = spread(options.size, options.phases, options.processes)
    alone, _ = spread(options.size, options.phases, 1)
    if counted != options.phases or not np.array_equal(plate, alone):
        sys.exit("several processes did not find what one finds")
    print(
        f"{counted} phases by {options.processes} processes: from {plate.min():.2f} to {plate.max():.2f} degrees"
    )
    if options.output and draw(plate, options.output):
        print(f"drawn to {options.output}")


if __name__ == "__main__":
    main()
