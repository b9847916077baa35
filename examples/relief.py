"""Hills in the light of many suns: real terrain, shaded by several processes, in a picture that they share.

    python examples/relief.py -o relief.png

The elevations (a valley in Tennessee) come with matplotlib. Whoever reads them cuts them into strips, each
an array that is born in shared memory (`procession.empty`), so that the queue hands it over without a
copy. Who takes a strip turns the sun around it and adds the light to one picture that all of them have
(`procession.shared.array`), each to rows of its own, so that nobody needs a lock.

--kill shoots one of them with a strip in its hands: the queue gives the rest to the others, and the
rows that are missing are said, and made up for.
"""

import argparse
import os
import signal

import matplotlib.cbook
import numpy as np
from matplotlib import image

import procession as mp
from procession import shared


def elevations(times):
    """Metres above the sea, refined so that there is something to do."""
    with matplotlib.cbook.get_sample_data("jacksboro_fault_dem.npz") as data:
        coarse = data["elevation"].astype(float)
    return np.repeat(np.repeat(coarse, times, axis=0), times, axis=1)


def light(strip, suns):
    """The mean light on the inner rows of a strip."""
    down, across = np.gradient(strip)
    slope, aspect = np.arctan(np.hypot(down, across)), np.arctan2(-across, down)
    shades = [
        np.sin(0.8) * np.cos(slope) + np.cos(0.8) * np.sin(slope) * np.cos(sun - aspect)
        for sun in np.linspace(0, 2 * np.pi, suns, endpoint=False)
    ]
    return np.sqrt(np.mean(np.square(shades), axis=0))[1:-1]


def work(strips, picture, done, suns, kill):
    """Shade strips until there are no more."""
    for first, strip in strips:
        if kill:
            os.kill(os.getpid(), signal.SIGKILL)
        picture[first : first + len(strip) - 2] = light(strip, suns)
        done[first : first + len(strip) - 2] = True


def cut(land, first, rows):
    """Some rows and their neighbours, in shared memory."""
    last = min(first + rows, len(land) - 2)
    strip = mp.empty((last - first + 2, land.shape[1]))
    strip[:] = land[first : last + 2]
    return first, strip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", default="relief.png")
    parser.add_argument("-p", "--processes", type=int, default=mp.cpus())
    parser.add_argument("-t", "--times", type=int, default=4, help="how finely (default 4)")
    parser.add_argument("-s", "--suns", type=int, default=8)
    parser.add_argument("-r", "--rows", type=int, default=64, help="of a strip")
    parser.add_argument("--kill", action="store_true", help="shoot the first process that takes a strip")
    options = parser.parse_args()
    land = elevations(options.times)
    picture = shared.array((land.shape[0] - 2, land.shape[1]), np.float32)
    done = shared.array(len(picture), bool)
    strips = mp.Queue()
    workers = [
        mp.Process(target=work, args=(strips, picture, done, options.suns, options.kill and number == 0))
        for number in range(options.processes + options.kill)
    ]
    workers[0].start()
    starts = range(0, len(picture), options.rows)
    strips.put(cut(land, 0, options.rows))
    if options.kill:
        workers[0].join()
    for worker in workers[1:]:
        worker.start()
    strips.put_many(cut(land, first, options.rows) for first in starts[1:])
    strips.shutdown()
    for worker in workers:
        worker.join()
    missing = [first for first in starts if not done[first]]
    for first in missing:
        work([cut(land, first, options.rows)], picture, done, options.suns, kill=False)
    image.imsave(options.output, picture, cmap="gray")
    print(f"{len(starts)} strips of {land.shape[1]} columns, {len(missing)} of them lost and done again")
    print(f"light from {picture.min():.2f} to {picture.max():.2f}, drawn to {options.output}")


if __name__ == "__main__":
    main()
