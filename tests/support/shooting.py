"""Pools whose workers are shot at random, and what became of each of their tasks."""

import collections
import functools
import pathlib
import random
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import tasks

from procession.errors import PoolTerminatedError, WorkerDiedError

PATIENCE = 120  # seconds for one result, on a machine that does other things too


MAGAZINE = 10
"""Shots without an answer between them: a pool whose workers all die before they are ready gives up, and rightly."""


class Gunman:
    """Shoots a worker every few milliseconds, as long as the number of answers grows."""

    def __init__(self, pool: Any, seed: int, pause: float, answers: Callable[[], int]) -> None:
        self._pool, self._random, self._pause, self._answers = pool, random.Random(seed), pause, answers
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._shoot)
        self.shots = 0

    def _shoot(self) -> None:
        answers, left = 0, MAGAZINE
        while not self._done.wait(self._random.random() * self._pause):
            if answers != (answers := self._answers()):
                left = MAGAZINE
            victims = list(self._pool._pool)
            if victims and left:
                self._random.choice(victims).kill()
                self.shots += 1
                left -= 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


class Fates(NamedTuple):
    """How many tasks had their result, died with their worker, or were given up by terminate()."""

    right: int
    lost: int
    given_up: int
    shots: int


def shoot_among_tasks(
    pool: Any, count: int, folder: pathlib.Path, *, seed: int, pause: float, terminate: bool = False
) -> Fates:
    """So many tasks, each with its right result or exactly one error, none begun twice.

    With `terminate` the pool is terminated in the middle of them. Otherwise it is usable afterwards.
    """
    path = str(folder / "ran")
    answers: collections.Counter[int] = collections.Counter()

    def answered(x: int, _: object) -> None:
        answers[x] += 1

    with Gunman(pool, seed, pause, lambda: len(answers)) as gunman:
        results = [
            pool.apply_async(
                tasks.noted_square,
                (path, x),
                callback=functools.partial(answered, x),
                error_callback=functools.partial(answered, x),
            )
            for x in range(count)
        ]
        if terminate:
            results[count // 2].wait(PATIENCE)
            pool.terminate()
            pool.join()
        fates = collections.Counter(_fate(x, result, terminate) for x, result in enumerate(results))
    assert fates.total() == count
    assert fates["lost"] <= gunman.shots, f"{fates['lost']} tasks lost by {gunman.shots} shots"
    if not terminate:
        assert answers == dict.fromkeys(range(count), 1), "a callback each"
        assert pool.map(tasks.square, range(10)) == [x * x for x in range(10)]
    assert max(answers.values()) == 1
    with open(path) as file:
        ran = collections.Counter(map(int, file))
    assert max(ran.values()) == 1, "a task was begun twice"
    assert all(ran[x] for x, result in enumerate(results) if result.successful())
    return Fates(fates["right"], fates["lost"], fates["given up"], gunman.shots)


def _fate(x: int, result: Any, terminated: bool) -> str:
    try:
        value = result.get(0 if terminated else PATIENCE)
    except WorkerDiedError as error:
        assert f", {x})" in error.arguments, f"task {x} was told of {error.arguments}"
        return "lost"
    except PoolTerminatedError:
        assert terminated
        return "given up"
    assert value == x * x, f"task {x} had the result {value}"
    return "right"
