"""Workers shot at random: every task has its right result or one error, none runs twice, and the pool goes on."""

import functools
import os
import signal
import time

import pytest
import tasks
from shooting import Gunman, shoot_among_tasks

import procession

pytestmark = [
    pytest.mark.slow,
    pytest.mark.crash,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

TASKS = 20_000  # `just soak` has more


@pytest.mark.parametrize("method", ["fork", "forkserver"])
@pytest.mark.timeout(300)
def test_shots_among_many_tasks(method, tmp_path):
    with procession.get_context(method).Pool(3) as pool:
        pool.map(tasks.square, range(10))
        shoot_among_tasks(pool, TASKS, tmp_path, seed=1, pause=0.05)
    pool.join()


@pytest.mark.timeout(300)
def test_shots_among_the_items_of_a_map():
    with procession.get_context("fork").Pool(3) as pool:
        rounds = 0
        with Gunman(pool, 2, 0.01, lambda: rounds) as gunman:
            until = time.monotonic() + 3
            while time.monotonic() < until:
                got = pool.map(tasks.square, range(3000), on_worker_death="skip")
                assert all(value in (None, x * x) for x, value in enumerate(got))
                rounds += 1
        assert gunman.shots and rounds
        assert pool.map(tasks.square, range(10)) == [x * x for x in range(10)]
    pool.join()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.timeout(300)
def test_terminate_among_shots(seed, tmp_path):
    pool = procession.get_context("fork").Pool(3)
    fates = shoot_among_tasks(pool, 3000, tmp_path, seed=seed, pause=0.005, terminate=True)
    assert fates.right


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
