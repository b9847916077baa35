"""A desk between two processes, and what it says of a worker that was killed anywhere."""

import contextlib
import os
import pickle
import signal
import threading

import pytest

from procession import _native

SIZES = 4096, 4096


def plain(value):
    return value


def never(*_):
    raise AssertionError


def failed(error):
    return 16, pickle.dumps(error)


def fork(act):
    """A forked child that runs `act`."""
    pid = os.fork()
    if pid == 0:
        try:
            act()
            _native.leave()
            os._exit(0)
        except BaseException:
            os._exit(70)
    return pid


def in_a_child(act):
    """Run `act` in a forked child; its wait status."""
    return os.waitpid(fork(act), 0)[1]


pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def run(desk, items, function=plain, first=0, star=False):
    return desk.run(first, items, function, star, never, failed, lambda: None)


def values(desk):
    return [(first, kind, value) for first, kind, value in desk.receive(1000, pickle.loads)]


def test_plain_values_travel_as_what_they_are():
    desk = _native.Desk(*SIZES)
    sent = [None, True, False, 0, -1, 2**62, 1.5, "", "über", b"", b"x" * 99]
    desk.post(len(sent), b"message")
    assert desk.take() == (0, len(sent), b"message")
    assert run(desk, sent)
    ((first, kind, got),) = values(desk)
    assert (
        (first, kind) == (0, 1) and got == sent and [type(one) for one in got] == [type(one) for one in sent]
    )


def test_what_is_not_plain_is_encoded_and_what_is_raised_is_an_answer():
    desk = _native.Desk(*SIZES)
    desk.post(3, b"")
    assert desk.run(0, [(1, 2), 2**70, 1], lambda x: 1 // (x != 1) and x, False,
                    lambda value: (0, pickle.dumps(value)), failed, lambda: None)  # fmt: skip
    (_, kind, got), (number, bad, error) = values(desk)
    assert (kind, got) == (1, [(1, 2), 2**70])
    assert (number, bad) == (2, 16) and isinstance(pickle.loads(error), ZeroDivisionError)


def test_star():
    desk = _native.Desk(*SIZES)
    desk.post(3, b"")
    assert run(desk, [(1, 2), [3, 4], 5], lambda a, b: a + b, star=True)
    (_, _, got), (number, kind, _) = values(desk)
    assert got == [3, 7] and (number, kind) == (2, 16)


def test_revoked_tasks_are_not_begun_and_their_numbers_not_used_again():
    desk = _native.Desk(*SIZES)
    assert desk.post(10, b"one") == 0
    assert desk.revoke(4) == (10, 6)
    assert desk.post(1, b"two") is None  # the worker has not come by what was revoked
    assert run(desk, range(10))
    assert values(desk) == [(0, 1, list(range(6)))]
    assert desk.claims() == (6, 6)
    assert desk.post(1, b"two") == 10
    assert run(desk, [7], first=10)
    assert values(desk) == [(10, 1, [7])]
    assert desk.revoke(9) == (11, 11)


def test_a_full_ring_of_tasks_refuses_and_one_of_results_waits():
    desk = _native.Desk(64, 64)
    assert desk.post(1, b"x" * 40) == 0
    assert desk.post(1, b"x" * 40) is None
    with pytest.raises(ValueError, match="larger than the desk"):
        desk.post(1, b"x" * 60)
    assert desk.take() == (0, 1, b"x" * 40)
    assert run(desk, [0]) and values(desk) == [(0, 1, [0])]
    assert desk.post(99, b"") == 1
    pid = os.fork()
    if pid == 0:
        try:
            assert run(desk, range(99), first=1)
        finally:
            os._exit(0)
    got = []
    while len(got) < 99:
        got += [value for _, _, some in values(desk) for value in some]
    os.waitpid(pid, 0)
    assert got == list(range(99))


def test_system_exit_ends_a_run():
    desk = _native.Desk(*SIZES)
    desk.post(2, b"")

    def leave(_):
        raise SystemExit(3)

    assert run(desk, [1, 2], leave) is False
    assert desk.claims() == (1, 2)


def test_a_ring_is_wished_for_once():
    desk, rings = _native.Desk(*SIZES), []
    desk.post(4, b"")
    assert desk.watch(2)
    desk.run(0, [1, 2], plain, False, never, failed, lambda: rings.append(desk.claims()[0]))
    assert rings == [1]
    assert desk.watch(1) is False  # there are results
    desk.run(2, [1, 2], plain, False, never, failed, lambda: rings.append(desk.claims()[0]))
    assert rings == [1, 4]  # when nothing was left to do


def test_a_desk_says_when_a_task_began_that_nobody_may_have_seen_begin():
    desk, noted = _native.Desk(*SIZES), []

    def task(number):
        if number == 2:
            assert desk.watch(2) is False  # whoever sleeps now is woken by the next result
        noted.append(desk.begun_ago(number))

    assert desk.begun_ago(0) is None
    desk.post(6, b"")
    assert run(desk, range(6), task)
    assert [ago is not None for ago in noted] == [True, False, False, True, False, False]
    assert max(filter(None, noted), default=0) < 60_000
    assert desk.begun_ago(3) is not None and desk.begun_ago(5) is None
    assert run(desk, [6], task, first=6) and len(noted) == 6  # nobody has allowed it


def test_a_desk_says_what_has_not_been_taken():
    desk = _native.Desk(*SIZES)
    assert desk.unread() is None
    desk.post(2, b"one")
    desk.post(3, b"two")
    assert desk.unread() == 0
    desk.take()
    assert desk.unread() == 2
    desk.take()
    assert desk.unread() is None


@contextlib.contextmanager
def working(desk, function=plain, encode=never):
    """A child that answers one message after the other, each the pickle of one item; an empty one ends it."""

    def act():
        while (taken := desk.take())[2]:
            number, _, message = taken
            desk.run(number, [pickle.loads(message)], function, False, encode, failed, never)

    pid = os.fork()
    if pid == 0:
        try:
            act()
            _native.leave()
            os._exit(0)
        finally:
            os._exit(70)
    yield
    desk.post(0, b"")
    assert os.waitpid(pid, 0)[1] == 0


def test_a_caller_at_the_hatch_rings_no_bell_and_leaves_nothing():
    desk, hatch = _native.Desk(*SIZES), _native.Hatch()
    one = pickle.dumps(1)
    assert hatch.call(one, None, pickle.loads) == (0, None)  # shut
    with working(desk, lambda x: (x, "as pickle") if x == 7 else x, lambda value: (0, pickle.dumps(value))):
        assert desk.watch(3)
        hatch.open(desk)
        for x in range(20):
            assert hatch.call(pickle.dumps(x), None, pickle.loads) == (1, (7, "as pickle") if x == 7 else x)
        assert hatch.shut() is None
        assert hatch.call(one, None, pickle.loads) == (0, None)
        assert not desk.has_results() and desk.claims() == (20, 20)


def test_what_a_caller_does_not_take_is_found_when_the_hatch_is_shut():
    desk, hatch = _native.Desk(*SIZES), _native.Hatch()
    with working(desk, lambda x: 1 // x):
        assert desk.watch(3)
        hatch.open(desk)
        assert hatch.call(pickle.dumps(0), "an error", pickle.loads) == (2, None)
        assert hatch.call(pickle.dumps(1), "another", pickle.loads) == (0, None)  # one at a time
        assert hatch.shut() == (0, "an error")
        ((number, kind, _),) = values(desk)
        assert (number, kind) == (0, 16)


def test_shutting_the_hatch_wakes_the_caller_and_takes_its_task_over():
    desk, hatch, seen = _native.Desk(*SIZES), _native.Hatch(), []
    hatch.open(desk)  # nobody works there
    caller = threading.Thread(target=lambda: seen.append(hatch.call(b"message", "segment", never)))
    caller.start()
    while desk.unread() is None:
        pass
    assert hatch.shut() == (0, "segment")
    caller.join()
    assert seen == [(2, None)]


def test_a_handler_that_raises_leaves_the_task_in_the_hatch():
    desk, hatch = _native.Desk(*SIZES), _native.Hatch()
    hatch.open(desk)

    def raise_it(*_):
        raise InterruptedError("told so")

    before = signal.signal(signal.SIGUSR1, raise_it)
    try:
        thread = threading.Thread(
            target=lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
        )
        with pytest.raises(InterruptedError, match="told so"):
            thread.start()
            assert hatch.call(b"message", "segment", never) == (2, None)
            raise_it()  # it lasted a moment before the signal came
        thread.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert hatch.shut() == (0, "segment") or desk.unread() is None


def test_an_interrupt_has_a_target():
    desk = _native.Desk(*SIZES)
    assert desk.target is None
    desk.target = 0
    assert desk.target == 0
    desk.target = None
    assert desk.target is None


@pytest.mark.crash
@pytest.mark.parametrize("victim", range(5))
def test_a_killed_worker_s_desk_says_what_it_was_at(victim):
    desk = _native.Desk(*SIZES)
    desk.post(5, b"")

    def act(x):
        if x == victim:
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    assert os.WTERMSIG(in_a_child(lambda: run(desk, range(5), act))) == signal.SIGKILL
    got = [value for _, _, some in values(desk) for value in some]
    assert got == list(range(victim))
    assert desk.claims() == (victim + 1, 5)


@pytest.mark.crash
@pytest.mark.parametrize("is_put", [False, True])
def test_a_large_result_of_a_killed_worker_is_had_or_swept(is_put):
    desk = _native.Desk(*SIZES)
    desk.post(1, b"")

    def act():
        memory = _native.Memory(100_000)
        memoryview(memory)[:3] = b"abc"
        desk.lend(memory._handle())
        if is_put:
            desk.tell(0, 1, 17, pickle.dumps(memory._handle()), lambda: None)
        os.kill(os.getpid(), signal.SIGKILL)

    before = _native.fsck()["objects"]
    assert os.WTERMSIG(in_a_child(act)) == signal.SIGKILL
    _native.sweep()
    opened = [_native.Memory._open(pickle.loads(handle)) for _, _, handle in values(desk)]
    desk.settle()
    assert [bytes(memoryview(one)[:3]) for one in opened] == [b"abc"] * is_put
    assert _native.fsck()["objects"] == before + is_put
    del opened
    desk.settle()
    assert _native.fsck()["objects"] == before


def test_what_one_worker_lent_is_not_given_up_for_another():
    first, second = _native.Desk(*SIZES), _native.Desk(*SIZES)

    def lend(desk, memory):
        memoryview(memory)[:3] = b"abc"
        assert desk.lend(memory._handle())
        desk.tell(0, 1, 17, pickle.dumps(memory._handle()), lambda: None)

    for desk in first, second:
        desk.post(1, b"")
    assert in_a_child(lambda: lend(first, _native.Memory(100_000))) == 0
    ((_, _, handle),) = values(first)
    opened = [_native.Memory._open(pickle.loads(handle))]
    readable, writable = os.pipe()

    def lend_again():
        os.read(readable, 1)
        lend(second, opened[0])

    pid = fork(lend_again)
    opened.clear()
    os.write(writable, b"x")
    assert os.waitpid(pid, 0)[1] == 0
    os.close(readable)
    os.close(writable)
    first.settle()
    ((_, _, handle),) = values(second)
    assert bytes(memoryview(_native.Memory._open(pickle.loads(handle)))[:3]) == b"abc"


def test_a_result_larger_than_the_ring_is_refused():
    desk = _native.Desk(*SIZES)
    with pytest.raises(ValueError, match="larger than the desk"):
        desk.tell(0, 1, 16, b"x" * 5000, lambda: None)


@pytest.mark.parametrize("sizes", [(0, 64), (64, 63), (63, 64)])
def test_sizes(sizes):
    with pytest.raises(ValueError, match="multiple of 8"):
        _native.Desk(*sizes)
