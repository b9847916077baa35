"""Two programs that share objects over TCP: one holds a list of jobs and a board of results, others work on them.

    python examples/remote_manager.py hold --key secret            prints the port, and the results in the end
    python examples/remote_manager.py work --key secret PORT       on this machine or another; start as many as you like

Whoever does not know the key is turned away. The jobs are numbers to be factorised.
"""

import argparse
import queue
import sys
import threading
from multiprocessing.managers import BaseManager

HOST = "127.0.0.1"
NUMBERS = [2**n + 1 for n in range(30, 50)]

jobs: queue.Queue = queue.Queue()
results: dict = {}


def get_jobs() -> queue.Queue:
    return jobs


def get_results() -> dict:
    return results


class Board(BaseManager):
    """What the programs agree upon: the names, and who makes what they stand for."""


Board.register("jobs", get_jobs)
Board.register("results", get_results, exposed=("update", "copy", "__len__"))


def factors(number: int) -> list[int]:
    """The primes whose product a number is."""
    found, divisor = [], 2
    while divisor * divisor <= number:
        while number % divisor == 0:
            found.append(divisor)
            number //= divisor
        divisor += 1
    return [*found, number] if number > 1 else found


def hold(key: bytes, port: int, count: int) -> None:
    """Serve until all numbers are factorised."""
    for number in NUMBERS[:count]:
        jobs.put(number)
    server = Board((HOST, port), key).get_server()
    print(f"port {server.address[1]}", flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    jobs.join()
    for number, found in sorted(results.items()):
        print(f"{number} = {' * '.join(map(str, found))}")


def work(key: bytes, port: int) -> None:
    """Take jobs until there are no more."""
    board = Board((HOST, port), key)
    try:
        board.connect()
    except ConnectionRefusedError:
        sys.exit(f"nobody holds a board at port {port}")
    todo, done = board.jobs(), board.results()
    count = 0
    try:
        while True:
            number = todo.get_nowait()
            done.update({number: factors(number)})
            todo.task_done()
            count += 1
    except (queue.Empty, EOFError, ConnectionError):
        print(f"{count} numbers")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("role", choices=["hold", "work"])
    parser.add_argument("port", nargs="?", type=int, default=0)
    parser.add_argument("--key", required=True, type=str.encode)
    parser.add_argument("-n", "--numbers", type=int, default=len(NUMBERS))
    options = parser.parse_args()
    if options.role == "hold":
        hold(options.key, options.port, options.numbers)
    else:
        work(options.key, options.port)


if __name__ == "__main__":
    main()
