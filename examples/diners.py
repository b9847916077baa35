"""Dining philosophers: each needs both forks beside it, and a waiter seats one fewer than there are forks.

    python examples/diners.py               on multiprocessing
    procession run examples/diners.py       the same program on procession

Were all to sit down and take their left forks at once, all would wait for ever. The
waiter is a semaphore: with one diner standing, somebody always gets both forks.
"""

import argparse
import sys
from multiprocessing import Array, BoundedSemaphore, Lock, Process, Value


def dine(seat, meals, waiter, forks, users, clashes, eaten):
    """Eat so many meals, each with two forks that nobody else holds meanwhile."""
    left, right = seat, (seat + 1) % len(forks)
    for _ in range(meals):
        with waiter, forks[left], forks[right]:
            for fork in (left, right):
                users[fork] += 1
            if users[left] != 1 or users[right] != 1:
                with clashes.get_lock():
                    clashes.value += 1
            for fork in (left, right):
                users[fork] -= 1
            eaten[seat] += 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-p", "--diners", type=int, default=5)
    parser.add_argument("-n", "--meals", type=int, default=2000, help="of each diner")
    options = parser.parse_args()
    waiter = BoundedSemaphore(options.diners - 1)
    forks = [Lock() for _ in range(options.diners)]
    users, eaten = Array("i", options.diners), Array("i", options.diners)
    clashes = Value("i", 0)
    diners = [
        Process(target=dine, args=(seat, options.meals, waiter, forks, users, clashes, eaten))
        for seat in range(options.diners)
    ]
    for diner in diners:
        diner.start()
    for diner in diners:
        diner.join()
    if clashes.value or eaten[:] != [options.meals] * options.diners:
        sys.exit(f"{clashes.value} forks were shared; meals: {eaten[:]}")
    print(f"{options.diners} diners had {options.meals} meals each, no fork was shared")


if __name__ == "__main__":
    main()
