"""The futures of ProcessPoolExecutor: concurrent.futures' in all that can be seen, with nothing made before its time."""

import asyncio
import concurrent.futures
import sys
import threading
from concurrent.futures import CancelledError, Future, as_completed, wait

import pytest

from procession._work.promise import Promise


@pytest.fixture
def hurry():
    """Threads that take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def run(promises):
    """What a collector does."""
    for number, promise in enumerate(promises):
        if promise.begin():
            promise.finish(number)


def beside(promises, act):
    """`act(promises)` while they are run in another thread; what it returned."""
    thread = threading.Thread(target=run, args=(promises,))
    thread.start()
    try:
        return act(promises)
    finally:
        thread.join()


def test_who_asks_when_it_is_there_makes_nothing():
    promise = Promise()
    run([promise])
    assert promise.result() == promise.result(0) == 0
    assert not {"_condition", "_waiters", "_done_callbacks"} & vars(promise).keys()


def test_it_looks_like_any_future():
    promise = Promise()
    assert isinstance(promise, Future)
    assert repr(promise).startswith("<Future at ") and "pending" in repr(promise)
    assert vars(Future()).keys() <= {name for name in vars(Future()) if hasattr(promise, name)}
    assert (promise._waiters, promise._done_callbacks) == ([], [])
    with pytest.raises(TimeoutError):
        promise.result(0)
    assert promise.begin() and promise.begin()  # given to another worker
    assert promise.running() and not promise.cancel() and not promise.done()
    promise.set_exception(KeyError(1))
    with pytest.raises(KeyError):
        promise.result()
    with pytest.raises(concurrent.futures.InvalidStateError):
        promise.finish(2)


def test_what_is_cancelled_does_not_begin():
    promise = Promise()
    assert promise.cancel() and not promise.begin()
    with pytest.raises(CancelledError):
        promise.result()
    with pytest.raises(concurrent.futures.InvalidStateError):
        promise.finish(2)


def test_waiting_beside_the_collector(hurry):
    for _ in range(20):
        promises = [Promise() for _ in range(50)]
        assert beside(promises, lambda all_of: [promise.result(30) for promise in all_of]) == list(range(50))
        promises = [Promise() for _ in range(50)]
        assert sorted(
            beside(promises, lambda all_of: [one.result() for one in as_completed(all_of, 30)])
        ) == list(range(50))
        promises = [Promise() for _ in range(50)]
        assert beside(promises, lambda all_of: wait(all_of, 30)).not_done == set()


def test_callbacks_come_once_each(hurry):
    for _ in range(20):
        promises, called = [Promise() for _ in range(50)], []

        def register(all_of, called=called):
            for promise in reversed(all_of):
                promise.add_done_callback(lambda done: called.append(done.result()))

        beside(promises, register)
        assert sorted(called) == list(range(50))


def test_one_that_is_cancelled_is_not_run_as_well(hurry):
    for _ in range(20):
        promises = [Promise() for _ in range(50)]
        cancelled = beside(
            promises, lambda all_of: {promise for promise in reversed(all_of) if promise.cancel()}
        )
        for number, promise in enumerate(promises):
            assert promise.cancelled() == (promise in cancelled)
            assert promise in cancelled or promise.result(30) == number


def test_asyncio_waits_for_it():
    async def main():
        promise = Promise()
        waiting = asyncio.wrap_future(promise)
        threading.Thread(target=run, args=([promise],)).start()
        return await asyncio.wait_for(waiting, 30)

    assert asyncio.run(main()) == 0
