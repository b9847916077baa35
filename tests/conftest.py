"""Every test leaves nothing behind: no process, thread, descriptor or file, and an arena that is as it was."""

import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import forkstops  # noqa: F401  before procession: its after-fork handler must be the first
import pytest
from traces import Traces, private_temporary_folder

# A run in a shell's background inherits SIGINT ignored, and so would the programs that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

RUNNER = os.getpid()

_reports: pytest.StashKey[dict[str, pytest.TestReport]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--stride",
        type=int,
        default=None,
        metavar="N",
        help="crash tests: kill after every N-th instruction only",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    report = yield
    if os.getpid() != RUNNER:  # an exception has led a forked child out of its test
        print(report.longreprtext, file=sys.stderr, flush=True)
        os._exit(70)
    item.stash.setdefault(_reports, {})[report.when] = report
    return report


def pytest_collection_finish() -> None:
    """What the tests are made of never becomes garbage: no collection of theirs looks at it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _temporary_folder() -> Iterator[None]:
    with private_temporary_folder():
        yield


@pytest.fixture(autouse=True)
def _leaves_nothing_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    before = Traces()
    yield
    report = request.node.stash.get(_reports, {}).get("call")
    if report is None or not report.passed:
        return  # its traceback holds its objects; one failure is enough
    request.node.funcargs.clear()  # the values of its fixtures, finished by now, would count as left
    left = before.settle()
    if left:
        pytest.fail("the test left behind:\n  " + "\n  ".join(left), pytrace=False)


@pytest.fixture
def eventually() -> Callable[[Callable[[], Any]], Any]:
    """Wait for a condition that another process brings about; its last value, or a failure that names it."""

    def wait(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
        give_up = time.monotonic() + seconds
        while not (value := condition()):
            if time.monotonic() > give_up:
                pytest.fail(f"not within {seconds} s: {condition}")
            time.sleep(0.002)
        return value

    return wait
