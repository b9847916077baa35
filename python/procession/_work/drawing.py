"""Items that are drawn as there is room for them, each stream's in a thread of its own."""

import threading
from itertools import islice
from typing import Any

from procession._work.engine import Engine
from procession._work.segments import Segment
from procession._work.streams import StreamJob
from procession._work.worker import CALLS


class TaskQueue:
    """Where the standard library's pool puts an iterator of tasks, and so does `istarmap`, a much-copied patch of it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def put(self, item: tuple[Any, Any]) -> None:
        """Have tasks `(job, place, function, args, kwds)` run for an `IMapIterator`, whose `_set_length` comes with them."""
        tasks, set_length = item
        job = getattr(getattr(set_length, "__self__", None), "_job", None)
        if not isinstance(job, StreamJob):
            raise TypeError("tasks are taken for an IMapIterator, with its _set_length")
        job.kind = CALLS
        job.join_engine(self._engine)
        draw(self._engine, job, (task[2:] for task in tasks), 1)


def draw(engine: Engine, job: StreamJob, items: Any, chunksize: int) -> None:
    """Draw a stream's items as there is room for them, in a thread of the stream's own."""
    arguments = engine, job, items, chunksize
    threading.Thread(target=_draw, args=arguments, name="procession-input", daemon=True).start()


def _draw(engine: Engine, job: StreamJob, items: Any, chunksize: int) -> None:
    drawn = 0
    bound = job.options.buffersize
    step = chunksize if bound is None else min(chunksize, bound)
    while job.wait_for_room(step):
        try:
            chunk = list(islice(items, step))
        except BaseException as error:  # noqa: BLE001  an iterable is anybody's code
            job.break_off(drawn, error)
            drawn += 1
            break
        if not chunk:
            break
        engine.submit(Segment(job, drawn, chunk, 0, len(chunk)))
        drawn += len(chunk)
    job.set_length(drawn)
