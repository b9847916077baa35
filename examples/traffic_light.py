"""A traffic light: cars, each a process, wait for green at an event; the light turns green and red again.

    python examples/traffic_light.py            on multiprocessing
    procession run examples/traffic_light.py    the same program on procession

Cars drive round a block and come to the light again and again. A car that finds green
crosses; one that finds red waits.
"""

import argparse
import sys
import time
from multiprocessing import Event, Process, Value


def drive(rounds, green, finished, crossed):
    """Cross the light so many times."""
    for _ in range(rounds):
        while not green.wait():
            pass  # woken too late: it is red again
        with crossed.get_lock():
            crossed.value += 1
    with finished.get_lock():
        finished.value += 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-p", "--cars", type=int, default=4)
    parser.add_argument("-n", "--rounds", type=int, default=500, help="of each car")
    parser.add_argument("--phase", type=float, default=0.005, help="seconds of green, and of red")
    options = parser.parse_args()
    green, finished, crossed = Event(), Value("i", 0), Value("i", 0)
    cars = [
        Process(target=drive, args=(options.rounds, green, finished, crossed)) for _ in range(options.cars)
    ]
    for car in cars:
        car.start()
    while finished.value < options.cars and any(car.is_alive() for car in cars):
        green.set()
        time.sleep(options.phase)
        green.clear()
        time.sleep(options.phase)
    green.set()
    for car in cars:
        car.join()
    if any(car.exitcode for car in cars) or crossed.value != options.cars * options.rounds:
        sys.exit(f"only {crossed.value} crossings")
    print(f"{options.cars} cars crossed {crossed.value} times")


if __name__ == "__main__":
    main()
