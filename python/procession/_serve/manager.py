"""`BaseManager`: starts a server, or connects to one, and makes objects there."""

import contextlib
import os
import signal
from collections.abc import Callable
from importlib import import_module
from multiprocessing import ProcessError, process, util
from multiprocessing import managers as standard
from multiprocessing.context import get_spawning_popen
from multiprocessing.managers import State
from traceback import format_exc
from types import TracebackType
from typing import Any, ClassVar, Final, Self

from procession._base.errors import ManagerDiedError
from procession._serve.links import GONE, Link, report_death
from procession._serve.messages import RemoteError, Token, dispatch, listener_client
from procession._serve.proxies import AutoProxy
from procession._serve.server import Registry, Server
from procession._wire.connections import Pipe
from procession._wire.listeners import Address

# mypy: disable-error-code="override, misc, assignment, attr-defined"

STATES: Final = {State.STARTED: "Already started server", State.SHUTDOWN: "Manager has shut down"}


class BaseManager(standard.BaseManager):
    """A server process that holds objects of registered types, and makes proxies of them.

    `start()` starts the server, which ends with `shutdown()`, with the `with` block, with the manager, or at once when
    the process that started it is killed. `connect()` uses one that runs already, at `address`, perhaps on another
    machine; `get_server()` gives the server itself, to be run here. Either side may be the standard library's.
    Who does not know `authkey` gets AuthenticationError; whoever knows it can run code in the server.
    """

    __module__ = "procession.managers"

    _registry: ClassVar[Registry] = {}
    _Server: ClassVar[type[Server]] = Server
    _process: Any = None

    def __init__(
        self,
        address: Address = None,
        authkey: bytes | None = None,
        serializer: str = "pickle",
        ctx: Any = None,
        *,
        shutdown_timeout: float = 1.0,
    ) -> None:
        self._address = address  # not the last word: ("", 0) means any port
        self._authkey = process.AuthenticationString(
            process.current_process().authkey if authkey is None else authkey
        )
        self._state = State()
        self._state.value = State.INITIAL
        self._serializer = serializer
        self._Listener, self._Client = listener_client[serializer]
        self._ctx = ctx or import_module("procession.context")._default_context.get_context()
        self._shutdown_timeout = shutdown_timeout
        self._end: Any = None

    @property
    def address(self) -> Address:
        """Where the server listens."""
        return self._address

    def _check_initial(self) -> None:
        if self._state.value != State.INITIAL:
            raise ProcessError(STATES[self._state.value])

    def _check_started(self) -> None:
        assert self._state.value != State.INITIAL, "server not yet started"  # noqa: S101  the standard library's
        if self._state.value == State.SHUTDOWN:
            raise ManagerDiedError("this manager has been shut down")

    # ---- servers ----------------------------------------------------------------

    def get_server(self) -> Server:
        """The server, not yet running: `serve_forever()` runs it in this process."""
        self._check_initial()
        return self._Server(self._registry, self._address, self._authkey, self._serializer)

    def connect(self) -> None:
        """Use the server that runs at `address`."""
        with self._Client(self._address, authkey=self._authkey) as line:
            dispatch(line, None, "dummy")
        self._state.value = State.STARTED

    def start(self, initializer: Callable[..., object] | None = None, initargs: Any = ()) -> None:
        """Start the server, which calls `initializer(*initargs)` first. What that raises is raised here."""
        self._check_initial()
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        self._launch(initializer, initargs)
        self._state.value = State.STARTED

    def _launch(self, initializer: Callable[..., object] | None = None, initargs: Any = ()) -> None:
        reader, writer = Pipe(duplex=False)
        with reader:
            with writer:
                served = type(self)._run_server
                facts = self._registry, self._address, self._authkey, self._serializer
                started = self._ctx.Process(target=served, args=(*facts, writer, initializer, initargs))
                started.name = f"{type(self).__name__}-{':'.join(map(str, started._identity))}"
                started.dies_with_parent = True
                started.start()
            try:
                address = _arrival(reader)
            except BaseException:
                started.join(self._shutdown_timeout)
                started.kill()
                started.join()
                raise
        self._process, self._address = started, address
        arguments = started, address, self._authkey, self._state, self._Client, self._shutdown_timeout
        self._end = util.Finalize(self, type(self)._finalize_manager, args=arguments, exitpriority=0)

    @classmethod
    def _run_server(
        cls,
        registry: Registry,
        address: Address,
        authkey: bytes,
        serializer: str,
        writer: Any,
        initializer: Callable[..., object] | None = None,
        initargs: Any = (),
    ) -> None:
        """What the server process does: report its address, serve."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for its users, who then shut it down
        with writer:
            try:
                if initializer is not None:
                    initializer(*initargs)
                server = cls._Server(registry, address, authkey, serializer)
            except Exception as error:  # noqa: BLE001  it is raised by start()
                _confess(writer, error)
                raise SystemExit(1) from None
            writer.send((None, server.address))
        util.info("manager serving at %r", server.address)
        server.serve_forever()

    @staticmethod
    def _finalize_manager(
        server: Any, address: Address, authkey: bytes, state: Any, _Client: Any, shutdown_timeout: float
    ) -> None:
        """End the server process: ask it to, then make it."""
        if server.is_alive():
            with (
                contextlib.suppress(*GONE, ProcessError, RemoteError),
                _Client(address, authkey=authkey) as line,
            ):
                dispatch(line, None, "shutdown")
            server.join(timeout=shutdown_timeout)
            for end in (server.terminate, server.kill):
                if server.is_alive():
                    util.info("manager still alive")
                    end()
                    server.join(timeout=shutdown_timeout)
            server.join()
        state.value = State.SHUTDOWN
        Link.forget(address)

    def shutdown(self) -> None:
        """End the server, if this manager has started it. Proxies then raise ManagerDiedError."""
        if self._end is not None:
            self._end()

    def join(self, timeout: float | None = None) -> None:
        """Wait for the server process to end, if this manager has started one."""
        if self._process is not None:
            self._process.join(timeout)
            if not self._process.is_alive():
                self._process = None

    def __enter__(self) -> Self:
        if self._state.value == State.INITIAL:
            self.start()
        if self._state.value != State.STARTED:
            raise ProcessError(STATES[self._state.value])
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self.shutdown()

    def __reduce__(self) -> tuple[Any, ...]:
        """To a process that is being started, with the key; elsewhere its reader needs the same authkey."""
        key = self._authkey if get_spawning_popen() is not None else None
        return _reopen, (type(self), self._address, key, self._serializer, self._state.value)

    # ---- objects ----------------------------------------------------------------

    def _create(self, typeid: str, /, *args: Any, **kwds: Any) -> tuple[Token, Any]:
        """Make an object; its token and its methods."""
        self._check_started()
        ident, exposed = self._request("create", (typeid, *args), kwds)
        return Token(typeid, self._address, ident), exposed

    def _request(self, name: str, args: Any = (), kwds: Any = {}) -> Any:  # noqa: B006  read only
        try:
            line = self._Client(self._address, authkey=self._authkey)
        except GONE as error:
            report_death(self._address, error)
        with line:
            message = line.pack((None, name, args, kwds))
            try:
                line.send_bytes(message)
                answer = line.recv_bytes()
            except GONE as error:
                report_death(self._address, error)
            return dispatch(_Answered(line.unpack(answer)), None, name)

    def _debug_info(self) -> str:
        """The server's objects, a line or two for each."""
        text: str = self._request("debug_info")
        return text

    def _number_of_objects(self) -> int:
        """How many objects proxies refer to."""
        number: int = self._request("number_of_objects")
        return number

    def _make(self, typeid: str, proxytype: Any, args: Any, kwds: Any) -> Any:
        """A proxy of a new object."""
        token, exposed = self._create(typeid, *args, **kwds)
        proxy = proxytype(token, self._serializer, manager=self, authkey=self._authkey, exposed=exposed)
        self._request("decref", (token.id,))
        return proxy

    @classmethod
    def register(
        cls,
        typeid: str,
        callable: Callable[..., Any] | None = None,
        proxytype: Any = None,
        exposed: Any = None,
        method_to_typeid: Any = None,
        create_method: bool = True,
    ) -> None:
        """Have objects of a type: `callable` makes them in the server, `proxytype` makes proxies of them.

        `exposed` are the methods that proxies may call (by default the proxy type's `_exposed_`, or all public
        ones); `method_to_typeid` names the types of the results of those that return proxies. Without
        `callable` a manager can only connect. With `create_method` the manager gets a method named `typeid`.
        """
        if "_registry" not in vars(cls):
            cls._registry = cls._registry.copy()
        proxytype = AutoProxy if proxytype is None else proxytype
        exposed = exposed or getattr(proxytype, "_exposed_", None)
        method_to_typeid = method_to_typeid or getattr(proxytype, "_method_to_typeid_", None)
        for name in [item for pair in dict(method_to_typeid or {}).items() for item in pair]:
            assert type(name) is str, f"{name!r} is not a string"  # noqa: S101  the standard library's
        cls._registry[typeid] = (callable, exposed, method_to_typeid, proxytype)
        if create_method:

            def make(self: Self, /, *args: Any, **kwds: Any) -> Any:
                return self._make(typeid, proxytype, args, kwds)

            make.__name__ = typeid
            setattr(cls, typeid, make)


class _Answered:
    """A line whose answer has come."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def send(self, request: Any) -> None:
        pass

    def recv(self) -> Any:
        answer, self._answer = self._answer, None
        return answer


def _confess(writer: Any, error: Exception) -> None:
    """Send why there will be no server."""
    text = format_exc()
    try:
        writer.send((error, text))
    except Exception:  # noqa: BLE001  reducers are anybody's code
        writer.send((RemoteError(text), text))


def _arrival(reader: Any) -> Address:
    """The address of a server that has started; raises what kept it from that."""
    try:
        error, fact = reader.recv()
    except EOFError as end:
        raise ManagerDiedError("the manager's server ended before it could serve") from end
    if error is None:
        return fact
    error.add_note(f"in the manager's server:\n{fact}")
    raise error


def _reopen(
    cls: type[BaseManager], address: Address, authkey: bytes | None, serializer: str, state: int
) -> BaseManager:
    manager = cls(address, authkey, serializer)
    manager._state.value = state
    return manager


def is_mine(pid: int) -> bool:
    """Whether this process has that number: what a forked child has inherited is not its to end."""
    return pid == os.getpid()
