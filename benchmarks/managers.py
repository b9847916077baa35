"""Rows of managers: the same text on the standard library's and on procession's."""

import multiprocessing
from typing import Any

import containers
import procession
from rows import Measure, Row


def life(mp: Any) -> Measure:
    """Seconds for a manager with one dict, from its start to its shutdown."""
    context = mp.get_context("fork")
    loops = 3 if mp is multiprocessing else 300

    def once() -> None:
        manager = context.Manager()
        manager.dict()
        manager.shutdown()

    def measure() -> float:
        return containers.time_of(once, loops)

    return measure


def rows() -> list[Row]:
    """All of them."""
    fork = procession.get_context("fork")
    ours = fork.Manager()
    made = [Row("`Manager()`, one dict, `shutdown()`", life(multiprocessing), life(procession), 200, 1000)]
    for processes, theirs_times, our_times in ((1, 1000, 50_000), (4, 300, 20_000)):
        for kind, arguments in (("dict", ()), ("list", ([0] * 4,))):

            def theirs_made(kind: str = kind, arguments: tuple = arguments) -> Any:
                return getattr(containers.manager(), kind)(*arguments)

            def ours_made(kind: str = kind, arguments: tuple = arguments) -> Any:
                return getattr(ours, kind)(*arguments)

            made.append(
                Row(
                    f"`Manager().{kind}()`, set and get by {processes} child{'ren' * (processes > 1)}",
                    containers.by_processes(processes, theirs_times, theirs_made),
                    containers.by_processes(processes, our_times, ours_made),
                    40,
                    100,
                )
            )
    return made
