"""The shared-memory core, compiled: locks, cells, memory and the arena they live in.

Everything here is private. `procession._shared` gives it Python faces; nothing
else imports it. Handles are `(nonce, offset, serial)`: the arena's 16-byte
nonce, the object's place in it, and a number that no other object ever had.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Self, SupportsIndex, final

from _typeshed import ReadableBuffer, WriteableBuffer

type _Handle = tuple[bytes, int, int]

__version__: Final[str]
CRASH_POINTS: Final[bool]  # True in builds that honour PROCESSION_CRASH

# ---- locks ------------------------------------------------------------------

class SemLock:
    """What Lock and RLock share. Not constructible itself; both may be subclassed."""

    kind: Final[int]  # 0 recursive mutex, 1 semaphore: the standard library's numbers
    maxvalue: Final[int]
    name: None
    @property
    def handle(self) -> int:
        """The object's offset in its arena."""
    def acquire(self, block: bool = True, timeout: float | None = None) -> bool: ...
    def release(self) -> None: ...
    def __enter__(self) -> bool: ...
    def __exit__(self, *exc: object) -> None: ...
    def locked(self) -> bool: ...
    @property
    def _semlock(self) -> SemLock:
        """The lock itself: standard-library code asks it `_is_mine()` and the like."""
    def _is_mine(self) -> bool: ...
    def _count(self) -> int: ...
    def _get_value(self) -> int: ...
    def _is_zero(self) -> bool: ...
    @property
    def on_owner_death(self) -> str: ...
    @property
    def recovered(self) -> int:
        """How often the lock was taken over from a dead owner."""
    @property
    def last_dead_pid(self) -> int:
        """Pid of the owner that died last with the lock held; 0 when none did or it is unknown."""
    @property
    def holder(self) -> tuple[int, int] | None:
        """`(pid, thread)` of who holds the lock now; pid 0 when a clean exit left it held."""
    @property
    def poisoned(self) -> bool: ...
    def _set_site(self, text: Memory) -> None:
        """Note where the holder took the lock: a text that the caller keeps alive."""
    def _site(self) -> str | None: ...
    def _recover(self) -> None:
        """Acquire although the owner died, and lift the poison. Blocks like acquire()."""
    def _poison(self) -> None:
        """Declare the state unknown again. Only the holder may."""
    def _statistics(self) -> dict[str, int]:
        """acquisitions, contended, waited_ns, recovered, signalling (0/1), handles."""
    def _handle(self) -> _Handle: ...
    def _pin(self) -> None:
        """Keep the object for the life of its arena: a handle to it travels on its own."""
    @classmethod
    def _open(cls, handle: _Handle) -> Any:
        """The object behind a handle; StaleHandleError when it is gone or foreign."""

class Lock(SemLock):
    def __new__(
        cls, *, on_owner_death: str = "recover", ctx: object = None, _handle: _Handle | None = None
    ) -> Self: ...
    def __init__(self, *, on_owner_death: str = "recover", ctx: object = None) -> None: ...

class RLock(SemLock):
    def __new__(
        cls, *, on_owner_death: str = "recover", ctx: object = None, _handle: _Handle | None = None
    ) -> Self: ...
    def __init__(self, *, on_owner_death: str = "recover", ctx: object = None) -> None: ...

# ---- cells and memory -------------------------------------------------------

class Value(SemLock):
    """A scalar with its own recursive lock (its base class) in the same cache line.

    `code` is a ctypes type code (`c_int._type_`), one of `?cubBhHiIlLqQfd`.
    """

    def __new__(
        cls,
        code: str,
        value: object = None,
        *,
        on_owner_death: str = "recover",
        _handle: _Handle | None = None,
    ) -> Self: ...
    value: Any  # reads and writes take the lock; ctypes' conversions and exceptions
    def add(self, n: Any, /) -> Any:
        """Add under the lock and return the new value; integers wrap as ctypes' do."""
    def compare_exchange(self, old: Any, new: Any) -> bool: ...
    def get_lock(self) -> RLock:
        """The lock as an object of its own (of the class given to set_hooks); always the same one."""
    def _memory(self) -> Memory:
        """The cell's bytes: `ctype.from_buffer(value._memory())`."""
    @property
    def code(self) -> str: ...

class Array(SemLock):
    """Scalars behind a recursive lock of their own (its base class), in one block.

    Items and slices without step are read and written here under the lock. Everything else goes to
    `_get(key)` and `_set(key, value)`, which subclasses have.
    """

    def __new__(
        cls,
        code: str,
        length: int = 0,
        *,
        on_owner_death: str = "recover",
        _handle: _Handle | None = None,
    ) -> Self: ...
    def __len__(self) -> int: ...
    def __getitem__(self, key: Any, /) -> Any: ...
    def __setitem__(self, key: Any, value: Any, /) -> None: ...
    def get_lock(self) -> RLock:
        """The lock as an object of its own (of the class given to set_hooks); always the same one."""
    def _memory(self) -> Memory:
        """The items' bytes: `(ctype * length).from_buffer(array._memory())`."""
    @property
    def code(self) -> str: ...

# ---- semaphores, events, conditions, barriers ---------------------------------

class Semaphore:
    """Permits, counted by the process that has them. Shares the hot methods' conventions with SemLock."""

    kind: Final[int]
    name: None
    def __new__(
        cls,
        value: int = 1,
        maxvalue: int = ...,
        *,
        recover: bool | None = None,
        ctx: object = None,
        _handle: _Handle | None = None,
    ) -> Self:
        """`recover`: whether permits of a killed process come back; None: unless used for signalling
        (somebody released what he had not acquired)."""
    def _configure(self, value: int, maxvalue: int, recover: bool | None) -> None:
        """What `__new__` does with these. Nobody else may have the semaphore yet."""
    @property
    def maxvalue(self) -> int: ...
    @property
    def handle(self) -> int: ...
    def acquire(self, block: bool = True, timeout: float | None = None) -> bool: ...
    def release(self) -> None: ...
    def __enter__(self) -> bool: ...
    def __exit__(self, *exc: object) -> None: ...
    def get_value(self) -> int: ...
    def locked(self) -> bool: ...
    @property
    def _semlock(self) -> Semaphore: ...
    def _is_mine(self) -> bool: ...
    def _count(self) -> int: ...
    def _get_value(self) -> int: ...
    def _is_zero(self) -> bool: ...
    @property
    def recovered(self) -> int: ...
    @property
    def last_dead_pid(self) -> int: ...
    def _statistics(self) -> dict[str, int]: ...
    def _handle(self) -> _Handle: ...
    def _pin(self) -> None: ...
    @classmethod
    def _open(cls, handle: _Handle) -> Any: ...

class Queue[T]:
    """Objects, encoded: put and get call Python before the queue is locked and after it is free."""

    def __new__(
        cls,
        maxsize: int = 0,
        producers: int = 0,
        *,
        acknowledging: bool = False,
        redelivering: bool = False,
        max_deliveries: int = 0,
        _handle: _Handle | None = None,
    ) -> Self:
        """A count of 0 is "any number", "not counted" or "never"."""
    def _configure(
        self, maxsize: int, producers: int, *, redelivering: bool = False, max_deliveries: int = 0
    ) -> None:
        """What `__new__` does with these. Nobody else may have the queue yet."""
    def put(self, obj: T, block: bool = True, timeout: float | None = None) -> None:
        """Calls `_refused(error, obj)` of a subclass that has it when obj cannot be pickled."""
    def get(self, block: bool = True, timeout: float | None = None) -> T: ...
    def _put_many(self, items: Iterable[T], block: bool = True, timeout: float | None = None) -> None: ...
    def _get_many(
        self, most: int | None = None, block: bool = True, timeout: float | None = None
    ) -> list[T]: ...
    def _look(self) -> bool:
        """Take back what dead consumers had; whether there is something to get."""
    def _poll(self, timeout: float | None = None) -> bool:
        """Whether there is an item or the end of the stream, or comes before the timeout."""
    def qsize(self) -> int: ...
    def empty(self) -> bool: ...
    def full(self) -> bool: ...
    def shutdown(self, immediate: bool = False) -> None: ...
    @property
    def is_shutdown(self) -> bool: ...
    @property
    def _bound(self) -> int:
        """The maxsize; 0 for none."""
    @property
    def _closed_ends(self) -> int:
        """Bits that this process has closed: 1 getting, 2 putting, others as the face likes."""
    def _close_ends(self, ends: int) -> None:
        """Who then gets or puts calls `_refuse()`, which raises."""
    def _task_done(self) -> None: ...
    def _wait_all_done(self, end: Counter | None = None) -> int | None:
        """The pid of who died with an item that nobody will finish; 0 when it is not known. No longer than `end` is 0."""
    def _get_delivery(self, block: bool = True, timeout: float | None = None) -> tuple[T, Delivery]: ...
    def _acknowledge(self, delivery: Delivery) -> bool:
        """False when this process does not have it (any more)."""
    def _give_back(self, delivery: Delivery) -> bool:
        """False also where nothing is delivered again."""
    @property
    def _last_delivery(self) -> int:
        """How often what this process got last has been delivered; 0 in a queue without acknowledgements."""
    @property
    def _dead_letter(self) -> Queue[Any] | None: ...
    def _set_dead_letter(self, queue: Queue[Any]) -> None: ...
    def _unfinished(self) -> int:
        """How many items were put and not acknowledged."""
    def _add_producer(self) -> None: ...
    def _remove_producer(self) -> None: ...
    def fileno(self) -> int: ...
    def _statistics(self) -> dict[str, Any]: ...
    def _handle(self) -> _Handle: ...
    def _pin(self) -> None: ...
    @classmethod
    def _open(cls, handle: _Handle) -> Any: ...

@final
class Delivery:
    """An item that was got from a queue with acknowledgements: which one."""

@final
class Block:
    """Received bytes, writable; freed when nobody refers to them."""

    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

class Event:
    def __new__(cls, *, ctx: object = None, _handle: _Handle | None = None) -> Self: ...
    def is_set(self) -> bool: ...
    def set(self) -> None: ...
    def clear(self) -> None: ...
    def wait(self, timeout: float | None = None) -> bool:
        """True when the event is set, or has been set while we waited."""
    def _statistics(self) -> dict[str, int]:
        """sets, handles."""
    def _handle(self) -> _Handle: ...
    def _pin(self) -> None: ...
    @classmethod
    def _open(cls, handle: _Handle) -> Any: ...

class Condition:
    """Waiters over `lock`: any object with acquire, release and a standard `_semlock`; ours go without calls."""

    def __new__(cls, lock: Any = None, *, ctx: object = None, _handle: _Handle | None = None) -> Self: ...
    def _bind(self, lock: Any) -> None:
        """Give the lock to a condition that was made without one."""
    @property
    def _lock(self) -> Any: ...
    def __enter__(self) -> Any: ...
    def __exit__(self, *exc: object) -> Any: ...
    def wait(self, timeout: float | None = None) -> bool: ...
    def notify(self, n: int = 1) -> None: ...
    def notify_all(self) -> None: ...
    def _sleeping(self) -> int:
        """Waiters that nobody has notified."""
    def _statistics(self) -> dict[str, int]:
        """waits, notified, waiting, handles."""
    def _handle(self) -> _Handle: ...
    def _pin(self) -> None: ...

class Barrier:
    def __new__(cls, parties: int, *, _handle: _Handle | None = None) -> Self: ...
    def _set_parties(self, parties: int) -> None:
        """Nobody may have come yet."""
    def _wait(
        self,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
        end: Counter | None = None,
    ) -> int:
        """The number of those who came before; the last to come runs `action` first.
        threading.BrokenBarrierError when the barrier is or gets broken, as it does when `end` is no longer 0."""
    def abort(self) -> None: ...
    def reset(self) -> None: ...
    @property
    def parties(self) -> int: ...
    @property
    def n_waiting(self) -> int: ...
    @property
    def broken(self) -> bool: ...
    def _statistics(self) -> dict[str, int]:
        """generations, waiting, handles."""
    def _handle(self) -> _Handle: ...
    def _pin(self) -> None: ...

class Connection:
    """One end of a connection; closed until `__init__` has run."""

    def __new__(cls, handle: SupportsIndex = ..., readable: bool = True, writable: bool = True) -> Self: ...
    def __init__(self, handle: SupportsIndex, readable: bool = True, writable: bool = True) -> None: ...
    @classmethod
    def _pair(cls, duplex: bool) -> tuple[Self, Self]: ...
    @classmethod
    def _arrive(cls, fd: int, readable: bool, writable: bool, handle: _Handle, side: int) -> Self:
        """An end that has travelled: a descriptor of this process, and the object that its users share."""
    def _anchor(self) -> Connection:
        """A closed connection that keeps the object behind this end."""
    def _object(self) -> _Handle: ...
    @property
    def _side(self) -> int: ...
    _handle: int | None
    _readable: bool
    _writable: bool
    @property
    def closed(self) -> bool: ...
    @property
    def readable(self) -> bool: ...
    @property
    def writable(self) -> bool: ...
    def fileno(self) -> int: ...
    def close(self) -> None: ...
    def _close(self) -> None: ...
    def send(self, obj: Any) -> None: ...
    def recv(self) -> Any: ...
    def send_bytes(self, buf: ReadableBuffer, offset: int = 0, size: int | None = None) -> None: ...
    def _send_bytes(self, buf: ReadableBuffer) -> None: ...
    def recv_bytes(self, maxlength: int | None = None) -> bytes: ...
    def _recv_bytes_within(self, maxlength: int, seconds: float) -> bytes:
        """`recv_bytes` for who does not trust the other end: TimeoutError after `seconds`."""
    def recv_bytes_into(self, buf: WriteableBuffer, offset: int = 0) -> int: ...
    def poll(self, timeout: float | None = 0.0) -> bool: ...
    def _poll(self, timeout: float | None) -> bool: ...
    def _look(self) -> bool:
        """Whether half a message is all that will come."""

@final
class Memory:
    """Zeroed bytes in the arena, freed with the last handle; a writable buffer."""

    def __new__(cls, size: int) -> Memory: ...
    @staticmethod
    def _holding(size: int, pieces: Sequence[tuple[int, ReadableBuffer]]) -> Memory:
        """Bytes that are these from their places on, and undefined between them. ValueError for a piece that does not fit."""
    @staticmethod
    def _buffer(size: int, *, zeroed: bool = False) -> Memory:
        """A Buffer of so many bytes, of undefined content unless zeroed: what arrays lie in that are sent as themselves."""
    @staticmethod
    def _lending(buffer: ReadableBuffer) -> tuple[Memory, int] | None:
        """`(Buffer, where the bytes begin in it)` for bytes that lie in one that this process holds; None for others."""
    def _read_only(self) -> Memory:
        """The same bytes, of which no view can be written in."""
    @property
    def nbytes(self) -> int: ...
    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def _handle(self) -> _Handle: ...
    def _pin(self) -> None: ...
    @classmethod
    def _open(cls, handle: _Handle) -> Any: ...

@final
class Private:
    """Bytes of a Buffer as a writable buffer of this process alone: nobody else sees what is written."""

    def __new__(cls, memory: Memory, start: int, nbytes: int) -> Self: ...
    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

class Desk:
    """Where one worker of a pool finds its tasks and leaves its results: two rings and a word of claims."""

    def __new__(cls, inbox: int = 0, outbox: int = 0, *, _handle: _Handle | None = None) -> Self:
        """Rings of so many bytes each, multiples of 8 from 64 on. Whoever makes it is the parent."""
    def post(self, count: int, message: bytes) -> int | None:
        """Parent: put a message with `count` tasks down. The first one's number; None when there is no room, or
        tasks that were revoked are still to be passed over. ValueError for one that can never fit."""
    def revoke(self, count: int) -> tuple[int, int]:
        """Parent: take up to `count` of the last tasks back: `(limit before, limit now)`."""
    def claims(self) -> tuple[int, int]:
        """`(begun, limit)`: tasks below `begun` have been begun, those below `limit` may be; modulo 2**32."""
    def begun_ago(self, number: int) -> int | None:
        """Parent: milliseconds since the worker began the task that it runs; None: it has not noted when."""
    @property
    def spent(self) -> tuple[int, int]:
        """`(nanoseconds, tasks)`: what the worker has spent on messages that are done, and on how many tasks."""
    @property
    def target(self) -> int | None:
        """Which task an interrupt is meant for; None: whichever runs."""
    @target.setter
    def target(self, number: int | None) -> None: ...
    def watch(self, what: int) -> bool:
        """Parent: ask for a ring: 0 none, 1 when nothing is left to do, 2 for any result, 3: wake the caller at the hatch instead.

        False: there are results.
        """
    def unread(self) -> int | None:
        """Parent: the first task of the next message that the worker has not taken; None: it has taken all."""
    def has_results(self) -> bool: ...
    def linger(self) -> bool:
        """Parent: wait some microseconds for results without sleeping, if that paid lately."""
    def receive(self, most: int, loads: Callable[[bytes], Any]) -> list[tuple[int, int, Any]]:
        """Parent: up to `most` results: `(first number, 1, values)`, `(number, 2, error of loads)`, or
        `(number, kind, bytes)` for the kinds from 16 on."""
    def settle(self) -> None:
        """Parent, after the worker's death and the last `receive`: give up what it lent and did not put down."""
    def take(self, timeout: float | None = None) -> tuple[int, int, bytes] | None:
        """Worker: the next message: `(first number, tasks, bytes)`; None at the timeout."""
    def run(
        self,
        first: int,
        items: Sequence[Any],
        function: Callable[..., Any],
        star: bool,
        encode: Callable[[Any], tuple[int, bytes]],
        fail: Callable[[BaseException], tuple[int, bytes]],
        ring: Callable[[], None],
    ) -> bool:
        """Worker: call `function` on each item and put the result down before the next. Stops at a task that was
        revoked, and after SystemExit, then with False. Notes when it begins the first one, and each that comes after
        a ring. In a child that a task forked and did not end: puts nothing down, and raises what the task raised there,
        or returns False."""
    def tell(self, first: int, count: int, kind: int, payload: bytes, ring: Callable[[], None]) -> None:
        """Worker: put a record down. Waits for room."""
    @property
    def answered(self) -> int:
        """Worker: one more than the last task with a result."""
    def lend(self, handle: _Handle, note: int = 0) -> bool:
        """Worker: make the parent a holder of an object of ours that the next result names, and note that at 0 or 1. False when it is one."""
    def _handle(self) -> _Handle: ...
    def _pin(self) -> None: ...
    @classmethod
    def _open(cls, handle: _Handle) -> Any: ...

@final
class Hatch:
    """Where a caller who is alone with its pool hands a task to an idle worker, and takes the result, by itself."""

    def __new__(cls) -> Self: ...
    def open(self, desk: Desk) -> None:
        """Collector, before it sleeps: the worker of that desk, which has nothing to do, is there for callers."""
    def shut(self) -> tuple[int, Any] | None:
        """Collector, when it wakes: `(number, segment)` of a task that was given and not taken, which is its own now."""
    def call(self, message: bytes, segment: Any, loads: Callable[[bytes], Any]) -> tuple[int, Any]:
        """Have the worker run a message's one task: `(1, result)`; `(0, None)`: it was not given; `(2, None)`: it takes
        longer, or has no plain result, and is the collector's, which is to be woken. So it is when a signal's handler
        raises, which is raised here, as what `loads` raises is."""

def fast_methods[C: type[SemLock | Semaphore | Event | Condition | Queue[Any]]](cls: C, /) -> C:
    """Class decorator for subclasses: hot methods of their own. The interpreter calls a method descriptor
    without detours only on instances of the very class that the descriptor was made for."""

# ---- containers -------------------------------------------------------------

class Table:
    """Keys with values: what dicts and sets share. Arguments are for the subclasses' `__init__`."""

    def __new__(cls, *_args: Any, _handle: _Handle | None = None, **_options: Any) -> Self: ...
    def __len__(self) -> int: ...
    def __contains__(self, key: object, /) -> bool: ...
    def clear(self) -> None:
        """Take everything out, in one change."""
    def _add(self, key: Any) -> bool:
        """Add a key without a value; False when it was there."""
    def _discard(self, key: Any) -> bool:
        """Take a key out; False when it was not there."""
    def _pop_last(self) -> tuple[Any, Any]:
        """Take out what was put in last; KeyError when there is nothing."""
    def _iterate(self, what: int, reverse: bool) -> Members:
        """Over keys (0), values (1) or pairs (2), as they are now, at one instant."""
    def _settle(self) -> None:
        """Wait until no writer is under way that began before we had the container's lock."""
    def _handle(self) -> _Handle: ...
    def _pin(self) -> None: ...
    @classmethod
    def _open(cls, handle: _Handle) -> Any: ...

class Dict(Table):
    def __getitem__(self, key: Any, /) -> Any: ...
    def __setitem__(self, key: Any, value: Any, /) -> None: ...
    def __delitem__(self, key: Any, /) -> None: ...
    def get(self, key: Any, default: Any = None, /) -> Any:
        """The value of a key, or `default`. Waits for nobody."""
    def setdefault(self, key: Any, default: Any = None, /) -> Any:
        """The value of a key, which is `default` from now on if there was none."""
    def pop(self, key: Any, /, *default: Any) -> Any:
        """Take a key out; its value, or `default`. KeyError without either."""
    def incr(self, key: Any, /, by: Any = None, *, default: Any = None) -> Any:
        """Add `by` (1) to the value, which is `default` (0) if there is none; the sum. One change."""
    def compare_and_set(self, key: Any, old: Any, new: Any, /) -> bool:
        """Put `new` in the place of a value that equals `old`; whether there was one. One change."""

class List:
    def __new__(cls, *_args: Any, _handle: _Handle | None = None) -> Self: ...
    def __len__(self) -> int: ...
    def __getitem__(self, key: Any, /) -> Any: ...
    def __setitem__(self, key: Any, value: Any, /) -> None: ...
    def __delitem__(self, key: Any, /) -> None: ...
    def append(self, value: Any) -> None:
        """Put an item behind the last."""
    def insert(self, index: Any, value: Any) -> None:
        """Put an item before that place."""
    def pop(self, index: int = -1, /) -> Any:
        """Take an item out; IndexError when there is none."""
    def reverse(self) -> None:
        """Turn the order round, in one change."""
    def clear(self) -> None:
        """Take everything out, in one change."""
    def _extend(self, values: list[Any]) -> None: ...
    def _remove(self, index: int, word: int) -> bool:
        """Take an item out that an iteration has met; False: it is gone."""
    def _permute(self, words: list[int], order: list[int]) -> bool:
        """Bring the items into another order, if they still are those with these words."""
    def _iterate(self, reverse: bool) -> Members: ...
    def _settle(self) -> None: ...
    def _handle(self) -> _Handle: ...
    def _pin(self) -> None: ...
    @classmethod
    def _open(cls, handle: _Handle) -> Any: ...

class Counter:
    def __new__(cls, value: int = 0, *, _handle: _Handle | None = None) -> Self: ...
    @property
    def value(self) -> int:
        """The number."""
    @value.setter
    def value(self, value: int) -> None: ...
    def add(self, n: int = 1, /) -> int:
        """Add, and return the sum; OverflowError beyond 64 bits."""
    def compare_exchange(self, old: int, new: int) -> bool:
        """Put `new` in the place of `old`; False when it is another number."""
    def _handle(self) -> _Handle: ...
    def _pin(self) -> None: ...
    @classmethod
    def _open(cls, handle: _Handle) -> Any: ...

@final
class Members:
    """An iterator over what was in a container at one instant."""

    def __iter__(self) -> Self: ...
    def __next__(self) -> Any: ...
    def __length_hint__(self) -> int: ...
    def _list(self) -> list[Any]:
        """All that were not asked for yet."""
    def _dict(self) -> dict[Any, Any]:
        """The same of keys with their values."""
    def _words(self) -> list[int]:
        """What tells each item from every other that the list ever had."""

def set_container_hooks(
    *,
    dumps: Callable[[Any, bytes, int], tuple[bytes, list[Any]]],
    loads: Callable[[bytes], Any],
    canonical: Callable[[Any], tuple[str | None, Any] | None],
    lock: Callable[[Any], Any],
    faces: list[type],
) -> None:
    """What containers call above themselves. `dumps(object, nonce, most)` also gives the objects of that arena that
    the bytes refer to; `canonical(key)` gives a kind and a plain key, None for a key that has to be compared."""

# ---- processes --------------------------------------------------------------

GUARD_SIGNAL: Final[int]
"""The real-time signal that the orphan guard is woken by: taken."""

def die_with_parent(parent: int, sentinel: int | None, zygote: int | None = None) -> None:
    """From now on this process and its descendants are killed when process `parent` has ended, and now when it
    has already: `sentinel`, a pidfd of the parent or a pipe that it holds open, tells. Call it in the main thread.
    `zygote`: the process that forked us in its place, and will call `tell_orphan`."""

def ignore_guard_signal() -> None:
    """This process and its forked children do not die of the guard's signal, unless they are guarded."""

def share_foresight() -> None:
    """In a zygote: forked children are given at birth the pages that the first of them finds it writes."""

def note_foresight() -> None:
    """In a child of the zygote: it is about to run its program. The first to say so tells the later ones what to expect."""

def tell_orphan(pid: int, parent: int) -> None:
    """In a zygote: process `parent`, for which child `pid` was forked, has ended."""

def create_segment(name: str, mode: int, length: int, track: bool) -> int:
    """The descriptor of a new segment in /dev/shm; with `track` it goes with our family."""

def unlink_segment(name: str) -> None: ...
def track_segment(name: str) -> None: ...
def untrack_segment(name: str) -> None: ...
def renew_warden() -> None:
    """See to it that there is a warden, if this process has tagged segments: at the end of a process."""

def children_of(pid: int) -> list[int]:
    """Pids of a process's children, zombies too, and of those that a zygote forked for it, if it is of our family.
    A child whose sibling is collected at this moment may be missed."""

def process_status(pid: int) -> tuple[int, int, bool] | None:
    """`(parent's pid, start in ticks since boot, whether it has ended)`; None when there is no such process."""

def is_resource_tracker(pid: int) -> bool:
    """Whether that process is a resource tracker of the standard library's."""

def cpu_quota() -> int | None:
    """How many processors use up the time that the control groups of this process allow; None without a limit."""

# ---- the arena --------------------------------------------------------------

def ensure_arena() -> None:
    """Make this process's arena if it has none. Registers the fork handlers once."""

def has_arena() -> bool: ...
def arena_fd() -> int:
    """The current arena's descriptor, verified (and reopened when the program closed it)."""

def arena_fd_of(nonce: bytes) -> int:
    """The same for the arena of that nonce, which this process must have mapped."""

def attach(fd: int) -> bytes:
    """Map the arena behind a descriptor (not consumed) and return its nonce.
    It becomes the current one when the process had none."""

@final
class Passage:
    """A place in one arena for a child that will map it by itself. Dropped before `handed_over()` it is given up.

    The child is a holder of what boards before it exists: its parent may free anything, or end, from
    `handed_over()` on.
    """

    def __new__(cls, nonce: bytes | None = None) -> Self:
        """In the arena of that nonce; None: the current one, which is made if there is none."""
    @property
    def nonce(self) -> bytes: ...
    def board(self, handle: _Handle) -> None:
        """Make the child a holder of an object of that arena."""
    def descriptors(self) -> tuple[int, int]:
        """The arena's, and that of the open file which keeps the child's slot: the child needs both."""
    def manifest(self) -> bytes:
        """What the child must tell `embark`."""
    def announce(self, pid: int) -> None:
        """The child will be the process of that pid, which is not at its first step yet."""
    def handed_over(self) -> None:
        """The child has its copies of the descriptors: close ours."""
    def abandon(self) -> None:
        """There will be no child."""

@final
class Luggage:
    """What this process was made a holder of before it began."""

    def put_down(self) -> None:
        """Every handle that was sent has been opened: give up what was not."""

def encode_key(key: Any) -> bytes:
    """The bytes that a container's key and all its equals share; TypeError for a key that has to be compared, and for
    what cannot be a key."""

def embark(fd: int, slot: int, manifest: bytes, *, current: bool) -> Luggage:
    """Come into the arena behind `fd` (not consumed) by the place that the parent keeps (`slot` is consumed).
    `current`: new objects are made there from now on."""

def gather[T](call: Callable[[T], Any], argument: T, nonce: bytes, most: int) -> tuple[Any, list[Any]]:
    """`call(argument)`, and the objects of that arena that this thread has pickled meanwhile, `most` at most."""

def change_state(future: Any, before: str, after: str) -> bool:
    """`future._state` from `before` (that very string) to `after`, if it is that and `_is_shared` is false, in one step
    to all threads of an interpreter with a GIL; whether it was."""

def take_along(obj: Any, handle: _Handle) -> bool:
    """Whether what is being pickled in this thread will keep the object alive; if not, somebody else must."""

def leave() -> None:
    """The process ends now and cleanly (call it right before os._exit): give back what it holds."""

def detach_held() -> list[tuple[str, int]]:
    """Mark the locks that this process still holds as left held by a clean exit; `(kind, offset)` of each."""

def sweep() -> int:
    """Free what the dead left in the current arena; the number of things freed."""

def give_back(*, keep: int = 0) -> int:
    """Give free memory above `keep` bytes back to the kernel now; the bytes given back. It happens by itself
    when a child is collected, above 64 MiB and after two idle seconds."""

def reaped() -> None:
    """A child of ours has ended: sweep if it did not leave cleanly."""

def fsck() -> dict[str, Any]:
    """`inconsistent: list[str]`, `leaked: list[str]`, `objects`, `pinned`, `blocks`, `spans`,
    `bytes_committed`, `members`, `garbage` (things of the dead not swept yet)."""

def statistics() -> dict[str, Any]:
    """size, committed, objects, pinned, spans, members, nonce, fd: figures of the current arena."""

def set_hooks(
    *,
    owner_died: Callable[[SemLock | Semaphore, int], None],
    stale_handle: type[Exception],
    arena_lost: type[Exception],
    owner_died_error: Callable[[SemLock, int], BaseException],
    interrupted: Callable[[str, int, SemLock | None], None],
    rlock: type[RLock],
    unsupported: type[Exception],
) -> None:
    """What the core calls or raises above itself. `owner_died(lock, pid)` runs after a takeover with the
    lock held; when it raises, the lock is released first. `owner_died_error(lock, pid)` builds what
    `on_owner_death="raise"` raises. `interrupted(what, nanoseconds, lock)` runs when Ctrl-C ends a wait."""

def crash_points() -> list[str]:
    """The names that PROCESSION_CRASH understands."""
