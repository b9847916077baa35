"""Pools whose workers are shot at random while they have very many tasks.

    python tests/stress/soak.py TASKS [--method fork|forkserver|spawn] [--seed N]

Under each start method: a pool that lives on, and one that is terminated in the middle. Every task must have its right
result or exactly one error and be begun at most once, the first pool must be usable at the end, and neither may leave a
process, thread, descriptor, file or byte of the arena behind.
"""

import argparse
import pathlib
import random
import sys
import tempfile
import time
import traceback
import warnings

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "support"))

import tasks
from shooting import shoot_among_tasks
from traces import Traces, private_temporary_folder

import procession
from procession import _native

METHODS = ("fork", "forkserver", "spawn")
PAUSES = {"fork": 0.01, "forkserver": 0.01, "spawn": 0.05}  # seconds between two shots, at most


def soak(method: str, count: int, seed: int, *, terminate: bool) -> bool:
    name = f"{method}, terminated" if terminate else method
    began = time.monotonic()
    context = procession.get_context(method)
    with context.Pool(1) as pool:  # what stays for good is there: the arena, the zygote
        pool.map(tasks.square, range(10))
    pool.join()
    before = Traces()
    try:
        with tempfile.TemporaryDirectory() as folder:
            with context.Pool(3) as pool:
                pool.map(tasks.square, range(10))
                fates = shoot_among_tasks(
                    pool, count, pathlib.Path(folder), seed=seed, pause=PAUSES[method], terminate=terminate
                )
            pool.join()
        del pool
        if left := before.settle():
            raise AssertionError("left behind: " + "; ".join(left))
        assert fates.shots, "nobody was shot"
    except Exception:
        traceback.print_exc()
        print(f"soak: {name}: FAILED, seed {seed}", flush=True)
        return False
    print(
        f"soak: {name}: {count} tasks, {fates.right} right, {fates.lost} lost, {fates.given_up} given up; "
        f"{fates.shots} shots, {time.monotonic() - began:.0f} s",
        flush=True,
    )
    return True


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", type=int)
    parser.add_argument("--method", choices=METHODS, action="append")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside the collector, from 3.12 on
    _native.ensure_arena()
    print(f"soak: seed {options.seed}, Python {sys.version.split()[0]}", flush=True)
    with private_temporary_folder():
        done = [
            soak(method, options.tasks, options.seed, terminate=terminate)
            for method in options.method or METHODS
            for terminate in (False, True)
        ]
    print(f"{sum(done)} passed, {len(done) - sum(done)} failed")
    return int(not all(done))


if __name__ == "__main__":
    sys.exit(main())
