"""A program that has a pool, for `pools.py`.

    python benchmarks/pool_program.py multiprocessing|procession METHOD [MODULE]    seconds for a pool's life

A pool of four starts, maps and ends. Its workers import this program, and MODULE with it if it is named. The first
pool is not counted: it brings up the fork server.
"""

import importlib
import sys
import time

TIMES = 5

for name in sys.argv[3:]:
    importlib.import_module(name)


def square(x):
    return x * x


def live(context):
    with context.Pool(4) as pool:
        if pool.map(square, range(4)) != [0, 1, 4, 9]:
            raise AssertionError(pool)
        pool.close()
        pool.join()


def main() -> None:
    module, method, *_ = sys.argv[1:]
    context = importlib.import_module(module).get_context(method)
    live(context)
    began = time.perf_counter()
    for _ in range(TIMES):
        live(context)
    print((time.perf_counter() - began) / TIMES)


if __name__ == "__main__":
    main()
