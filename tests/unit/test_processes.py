"""Processes by fork: what ours promise beyond the standard library's."""

import os
import select
import signal
import sys
import threading

import pytest
from children import PATIENCE, finish
from family import METHODS

import procession
from procession import _native

fork = procession.get_context("fork")


def test_interrupt(start):
    def wait():
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.write(writer, b".")
            for _ in range(int(PATIENCE * 20)):  # a signal that comes right before select() does not end it
                select.select([], [], [], 0.05)
        except KeyboardInterrupt:
            sys.exit(5)

    reader, writer = os.pipe()
    child = start(fork, wait)
    os.read(reader, 1)
    child.interrupt()
    assert finish(child) == 5
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("method", METHODS)
def test_interrupt_by_every_start_method(family, method):
    scene = family(method, "interrupt")
    scene["ready"]
    scene.go_on()
    scene["exitcode:5"]


def test_interrupt_is_misused_like_terminate(start):
    with pytest.raises(AttributeError):
        fork.Process().interrupt()
    child = start(fork, int)
    assert finish(child) == 0
    child.interrupt()
    child.close()
    with pytest.raises(ValueError, match="process object is closed"):
        child.interrupt()


def test_the_sentinel_is_a_pidfd(start):
    child = start(fork, int)
    assert os.readlink(f"/proc/self/fd/{child.sentinel}") == "anon_inode:[pidfd]"
    assert finish(child) == 0


def test_it_costs_one_descriptor(start):
    finish(start(fork, int))
    before = len(os.listdir("/proc/self/fd"))
    child = start(fork, int)
    assert len(os.listdir("/proc/self/fd")) == before + 1
    assert finish(child) == 0


class TestCollectedBySomebodyElse:
    def test_the_process_is_not_alive_and_its_exit_code_is_unknown(self, start):
        child = start(fork, sys.exit, 3)
        os.waitpid(child.pid, 0)
        child.join()
        assert (child.is_alive(), child.exitcode) == (False, None)
        assert child not in procession.active_children()
        child.kill()

    def test_sigchld_ignored(self, start):
        before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        try:
            child = start(fork, int)
            child.join()
            assert (child.is_alive(), child.exitcode) == (False, None)
            child.terminate()
        finally:
            signal.signal(signal.SIGCHLD, before)


def test_a_fork_that_fails_leaves_nothing(monkeypatch):
    finish_one = fork.Process(target=int)
    finish_one.start()
    finish(finish_one)
    finish_one.close()
    before = set(os.listdir("/proc/self/fd"))

    def fail():
        raise BlockingIOError("no process left")

    process = fork.Process(target=int)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fork", fail)
        with pytest.raises(BlockingIOError):
            process.start()
    assert set(os.listdir("/proc/self/fd")) == before
    assert not process.is_alive()
    process.start()
    assert finish(process) == 0
    process.close()


@pytest.mark.filterwarnings("ignore::procession.ForkWithThreadsWarning")
def test_starting_from_threads(start):
    codes = []
    threads = [
        threading.Thread(target=lambda number=number: codes.append(finish(start(fork, os._exit, number))))
        for number in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == list(range(6))


def test_a_child_without_descriptors_left_for_stdin(start):
    """/dev/null cannot be opened then: the standard library's child goes on without, and so does ours."""
    import resource

    def use_all_up():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        taken = []
        with pytest.raises(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        for fd in taken[-4:]:
            os.close(fd)
        process = fork.Process(target=sys.exit, args=(4,))
        process.start()
        process.join()
        assert process.exitcode == 4

    assert finish(start(fork, use_all_up)) == 0


class TestFinishedChildrenThatNobodyJoins:
    """They are collected by the next start and by active_children(), as the standard library's."""

    def test_do_not_accumulate(self):
        for _ in range(200):
            child = fork.Process(target=int)
            child.start()
            assert zombies() in ([], [child.pid])  # the start has collected the one before
            assert select.select([child.sentinel], [], [], PATIENCE)[0]
        del child
        assert procession.active_children() == []
        assert zombies() == []

    def test_are_collected_together(self, eventually):
        children = [fork.Process(target=int) for _ in range(200)]
        for child in children:
            child.start()
        eventually(lambda: all(child.pid in zombies() or child.exitcode == 0 for child in children))
        assert procession.active_children() == []
        assert zombies() == []
        assert [child.exitcode for child in children] == [0] * 200
        for child in children:
            child.close()

    def test_that_somebody_else_collected_are_no_longer_active(self):
        before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        try:
            children = [fork.Process(target=int) for _ in range(20)]
            for child in children:
                child.start()
            for child in children:
                assert select.select([child.sentinel], [], [], PATIENCE)[0]
            assert procession.active_children() == []
        finally:
            signal.signal(signal.SIGCHLD, before)
        for child in children:
            child.close()


def zombies():
    found = []
    for pid in _native.children_of(os.getpid()):
        status = _native.process_status(pid)
        if status is not None and status[2]:
            found.append(pid)
    return found
