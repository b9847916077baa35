"""A program that starts processes, for `starts.py`.

    python benchmarks/start_program.py multiprocessing|procession METHOD one|fifty MEGABYTES    seconds for one start

The first start is not counted: it brings up the fork server.
"""

import importlib
import sys
import time


def one_by_one(context, times):
    began = time.perf_counter()
    for _ in range(times):
        process = context.Process(target=int)
        process.start()
        process.join()
    return (time.perf_counter() - began) / times


def fifty_at_once(context, times):
    began = time.perf_counter()
    for _ in range(times):
        processes = [context.Process(target=int) for _ in range(50)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
    return (time.perf_counter() - began) / times / 50


def main() -> None:
    module, method, kind, megabytes = sys.argv[1:]
    context = importlib.import_module(module).get_context(method)
    ballast = bytearray(b"x") * (int(megabytes) << 20)
    one_by_one(context, 1)
    work = {"one": (one_by_one, 20), "fifty": (fifty_at_once, 2)}[kind]
    print(work[0](context, work[1]))
    del ballast


if __name__ == "__main__":
    main()
