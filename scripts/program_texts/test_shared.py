"""Tests that start processes, for pytest's workers."""

import multiprocessing

import pytest


def add(value, lock, n):
    for _ in range(n):
        with lock:
            value.value += 1


@pytest.mark.parametrize("children", [1, 2, 3])
def test_counting(children):
    value, lock = multiprocessing.Value("i", 0, lock=False), multiprocessing.Lock()
    processes = [multiprocessing.Process(target=add, args=(value, lock, 50)) for _ in range(children)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert value.value == 50 * children


def test_that_fails():
    assert multiprocessing.cpu_count() == -1
