"""Other pools, as far as they are installed (requirements/peers.txt): each with the calls that rows make of a pool.

What a peer has no equal of is not asked of it.
"""

import contextlib
import importlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any


class Peer:
    """Makes a pool of two workers, with `map`, `apply_async`, `imap` and so on as `can_do` names them."""

    def __init__(self, make: Callable[[], Any], *can_do: str) -> None:
        self._make, self._names = make, can_do

    @property
    def can_do(self) -> set[Any]:
        pools = importlib.import_module("pools")
        return {getattr(pools, name) for name in self._names}

    def __call__(self) -> Any:
        return self._make()


class Future:
    """What a call gives: `get` is its result."""

    def __init__(self, result: Callable[[], Any]) -> None:
        self.get = result


class Executor:
    """A pool in the shape of concurrent.futures."""

    def __init__(self, executor: Any) -> None:
        self._executor = executor

    def map(self, function: Callable[[Any], Any], items: Iterable[Any], chunksize: int = 1) -> list[Any]:
        return list(self._executor.map(function, items, chunksize=chunksize))

    def imap(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        return iter(self._executor.map(function, items))

    def apply_async(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Future:
        return Future(self._executor.submit(function, *args).result)


class Pebble(Executor):
    def map(self, function: Callable[[Any], Any], items: Iterable[Any], chunksize: int = 1) -> list[Any]:
        return list(self._executor.map(function, items, chunksize=chunksize).result())

    def imap(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        return iter(self._executor.map(function, items).result())

    def apply_async(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Future:
        return Future(self._executor.schedule(function, args).result)


class Mpire(Executor):
    def map(self, function: Callable[[Any], Any], items: Iterable[Any], chunksize: int = 1) -> list[Any]:
        return list(self._executor.map(function, list(items), chunk_size=chunksize))

    def imap(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        return iter(self._executor.imap(function, [(item,) for item in items]))

    def apply_async(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Future:
        return Future(self._executor.apply_async(function, args).get)


def _wrapped(shape: type[Executor], make: Callable[[], Any]) -> Callable[[], Any]:
    @contextlib.contextmanager
    def opened() -> Iterator[Executor]:
        with make() as pool:
            yield shape(pool)

    return opened


def _peers() -> dict[str, Peer]:
    found = {}
    all_calls = ("map_singly", "call_and_get", "map_arrays")
    with contextlib.suppress(ImportError):
        loky = importlib.import_module("joblib.externals.loky")
        found["loky"] = Peer(_wrapped(Executor, lambda: loky.ProcessPoolExecutor(2)), *all_calls)
    with contextlib.suppress(ImportError):
        mpire = importlib.import_module("mpire")
        found["mpire"] = Peer(_wrapped(Mpire, lambda: mpire.WorkerPool(2)), *all_calls)
    with contextlib.suppress(ImportError):
        pebble = importlib.import_module("pebble")
        found["pebble"] = Peer(_wrapped(Pebble, lambda: pebble.ProcessPool(2)), *all_calls)
    with contextlib.suppress(ImportError):
        billiard = importlib.import_module("billiard")
        found["billiard"] = Peer(lambda: billiard.Pool(2), "map_all", *all_calls)
    return found


PEERS = _peers()
