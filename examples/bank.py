"""A bank whose clerks, each a process, move money between accounts under a lock.

    python examples/bank.py                 on multiprocessing
    procession run examples/bank.py         the same program on procession

Every transfer takes the lock, so no penny is made or lost; an audit takes it too, in
the middle of everything, and always finds the same total.
"""

import argparse
import random
import sys
from multiprocessing import Array, Lock, Process, Value


def clerk(seed, transfers, lock, accounts, refused):
    """Move random amounts between random accounts; refuse what an account cannot pay."""
    chance = random.Random(seed)  # noqa: S311  a simulation
    for _ in range(transfers):
        payer, payee = chance.sample(range(len(accounts)), 2)
        amount = chance.randint(1, 100)
        with lock:
            if accounts[payer] < amount:
                refused.value += 1
                continue
            accounts[payer] -= amount
            accounts[payee] += amount


def audit(times, lock, accounts, expected):
    """Add all accounts up, again and again; exit with 1 if money appeared or vanished."""
    for _ in range(times):
        with lock:
            total = sum(accounts[:])
        if total != expected:
            sys.exit(f"the books show {total}, not {expected}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-p", "--clerks", type=int, default=4)
    parser.add_argument("-n", "--transfers", type=int, default=20_000, help="by each clerk")
    parser.add_argument("-a", "--accounts", type=int, default=10)
    options = parser.parse_args()
    lock, refused = Lock(), Value("q", 0)
    accounts = Array("q", [1000] * options.accounts)
    expected = 1000 * options.accounts
    shared = lock, accounts
    people = [
        Process(target=clerk, args=(seed, options.transfers, *shared, refused))
        for seed in range(options.clerks)
    ]
    people.append(Process(target=audit, args=(options.transfers // 100, *shared, expected)))
    for person in people:
        person.start()
    for person in people:
        person.join()
    if any(person.exitcode for person in people) or sum(accounts[:]) != expected:
        sys.exit("the books do not balance")
    print(f"{options.clerks * options.transfers} transfers, {refused.value} refused")
    print(f"{sum(accounts[:])} in {len(accounts)} accounts, as at the beginning")


if __name__ == "__main__":
    main()
