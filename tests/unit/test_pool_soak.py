"""Workers shot at random: every task has its right result or one error, none runs twice, and the pool goes on."""

import collections
import functools
import os
import random
import signal
import threading
import time

import pytest
import tasks

import procession
from procession.errors import PoolTerminatedError, WorkerDiedError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.crash,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

TASKS = int(os.environ.get("PROCESSION_SOAK_TASKS", "20000"))


class Gunman:
    """Shoots a worker every few milliseconds."""

    def __init__(self, pool, seed, pause):
        self._pool, self._random, self._pause = pool, random.Random(seed), pause
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._shoot)
        self.shots = 0

    def _shoot(self):
        while not self._done.wait(self._random.random() * self._pause):
            victims = list(self._pool._pool)
            if victims:
                self._random.choice(victims).kill()
                self.shots += 1

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()


@pytest.mark.parametrize("method", ["fork", "forkserver"])
@pytest.mark.timeout(300)
def test_shots_among_many_tasks(method, tmp_path):
    path = str(tmp_path / "ran")
    with procession.get_context(method).Pool(3) as pool:
        pool.map(tasks.square, range(10))
        with Gunman(pool, 1, 0.05) as gunman:
            results = [pool.apply_async(tasks.noted_square, (path, x)) for x in range(TASKS)]
            right = lost = 0
            for x, result in enumerate(results):
                try:
                    assert result.get(120) == x * x
                    right += 1
                except WorkerDiedError as error:
                    assert str(x) in error.arguments
                    lost += 1
        assert right + lost == TASKS and lost <= gunman.shots
        assert pool.map(tasks.square, range(10)) == [x * x for x in range(10)]
    pool.join()
    with open(path) as file:
        ran = collections.Counter(map(int, file))
    assert max(ran.values()) == 1
    assert len(ran) >= right


@pytest.mark.timeout(300)
def test_shots_among_the_items_of_a_map():
    with procession.get_context("fork").Pool(3) as pool:
        with Gunman(pool, 2, 0.01) as gunman:
            until, rounds = time.monotonic() + 3, 0
            while time.monotonic() < until:
                got = pool.map(tasks.square, range(3000), on_worker_death="skip")
                assert all(value in (None, x * x) for x, value in enumerate(got))
                rounds += 1
        assert gunman.shots and rounds
        assert pool.map(tasks.square, range(10)) == [x * x for x in range(10)]
    pool.join()


@pytest.mark.timeout(300)
def test_terminate_among_shots():
    for seed in range(5):
        pool = procession.get_context("fork").Pool(3)
        with Gunman(pool, seed, 0.005):
            results = [pool.apply_async(tasks.square, (x,)) for x in range(3000)]
            results[100].wait(60)
            pool.terminate()
            pool.join()
        for x, result in enumerate(results):
            try:
                assert result.get(0) == x * x
            except (WorkerDiedError, PoolTerminatedError):
                pass


def test_a_killed_pool_leaves_nothing(tmp_path, eventually):
    """The parent of a pool is shot: its workers go with it."""
    ctx = procession.get_context("fork")
    path = str(tmp_path / "pids")
    owner = ctx.Process(target=tasks.own_a_pool, args=(path,))
    owner.start()
    pids = eventually(lambda: os.path.exists(path) and [int(pid) for pid in open_text(path).split()])
    os.kill(owner.pid, signal.SIGKILL)
    owner.join()
    eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))


def open_text(path):
    with open(path) as file:
        return file.read()


def test_functools_partial_of_a_shot(tmp_path):
    shot = functools.partial(tasks.die_once, str(tmp_path / "once"))
    with procession.get_context("fork").Pool(2) as pool:
        assert pool.map(shot, range(100), retries=1) == list(range(100))
    pool.join()
