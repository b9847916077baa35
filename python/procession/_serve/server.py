"""`Server`: a manager's objects in a process, each client's thread served by a thread.

    accepter ---- a thread for each connection: handshake, then one request
                    create | incref | decref | ...      answered, and the connection ends
                    accept_connection                   its thread's calls, until it goes away

Before the handshake is done nothing is unpickled and nobody counts for long (`strangers.py`).
An object is kept while proxies refer to it (`id_to_refcount`); those of a dead process count no more (`tenants.py`).
"""

import contextlib
import os
import secrets
import sys
import threading
from collections.abc import Callable, Iterable
from multiprocessing import process, util
from traceback import format_exc
from typing import Any, ClassVar, Final, NoReturn

from procession._serve.messages import Line, Token, listener_client
from procession._serve.ownership import Owned
from procession._serve.strangers import Strangers, hang_up, peer_of
from procession._serve.tenants import Tenants
from procession._wire.listeners import Address, admit

Reply = tuple[str, Any]
Registry = dict[str, tuple[Any, Any, Any, Any]]

BACKLOG: Final = 128
RETRY: Final = 0.02  # seconds until the next attempt, when there is no descriptor or thread for a client


def all_methods(obj: Any) -> list[str]:
    """The names of an object's methods."""
    return [name for name in dir(obj) if callable(getattr(obj, name))]


def public_methods(obj: Any) -> list[str]:
    """Those that do not begin with an underscore."""
    return [name for name in all_methods(obj) if name[0] != "_"]


def _own_address() -> str:
    """An address that no file stands for, so that nothing is left of a server that is killed."""
    return f"\0procession-{os.getpid()}-{secrets.token_hex(8)}"


class Server:
    """The objects of a manager, and who serves them: `manager.get_server().serve_forever()`."""

    __module__ = "procession.managers"

    public: ClassVar[list[str]] = [
        "shutdown",
        "create",
        "accept_connection",
        "get_methods",
        "debug_info",
        "number_of_objects",
        "dummy",
        "incref",
        "decref",
    ]

    def __init__(self, registry: Registry, address: Address, authkey: bytes, serializer: str) -> None:
        if not isinstance(authkey, bytes):
            raise TypeError(f"Authkey {authkey!r} is type {type(authkey)!s}, not bytes")
        self.registry = registry
        self.authkey = process.AuthenticationString(authkey)  # type: ignore[attr-defined]
        listener, _client = listener_client[serializer]
        own = None if address else _own_address()
        self.listener = listener(address=own or address, backlog=BACKLOG)
        self.address: Address = own or self.listener.address
        self._is_private = own is not None
        self._strangers = Strangers()
        self._tenants = Tenants(self._let_go)
        self.stop_event = threading.Event()
        self.mutex = threading.Lock()
        self.id_to_obj: dict[str, tuple[Any, ...]] = {"0": (None, ())}
        self.id_to_refcount: dict[str, int] = {}
        self.id_to_local_proxy_obj: dict[str, tuple[Any, ...]] = {}

    # ---- clients come and go ----------------------------------------------------

    def serve_forever(self) -> NoReturn:
        """Serve until a client calls `shutdown`, or an interrupt; then SystemExit."""
        process.current_process()._manager_server = self  # type: ignore[attr-defined]
        threading.Thread(target=self.accepter, daemon=True).start()
        try:
            with contextlib.suppress(KeyboardInterrupt, SystemExit):
                self.stop_event.wait()
        finally:
            self._stop()
        sys.exit(0)

    def _stop(self) -> None:
        self.stop_event.set()
        with contextlib.suppress(OSError, AttributeError):  # somebody else has closed it
            hang_up(self.listener._listener._socket)  # type: ignore[union-attr]
        self.listener.close()
        self._tenants.close()
        if sys.stdout is not sys.__stdout__:
            sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__

    def accepter(self) -> None:
        """Accept clients until the server stops."""
        while not self.stop_event.is_set():
            try:
                c = self.listener.accept()
            except OSError:
                self.stop_event.wait(RETRY)
                continue
            self._strangers.enter(c)
            try:
                threading.Thread(target=self.handle_request, args=(c,), daemon=True).start()
            except RuntimeError:  # no thread to be had
                self._strangers.leave(c)
                c.close()
                self.stop_event.wait(RETRY)
            del c  # it is the thread's

    def handle_request(self, conn: Line) -> None:
        """A new client: have it prove that it knows the key, then do what it wants."""
        try:
            if self._admits(conn):
                self._answer(conn)
        finally:
            conn.close()

    def _admits(self, c: Line) -> bool:
        try:
            if self._is_private and not _is_of_this_user(c.fileno()):
                return False
            admit(c._conn, self.authkey)
        except Exception as refusal:  # noqa: BLE001  whatever a stranger sends
            util.info("a client was refused: %s", refusal)
            return False
        finally:
            self._strangers.leave(c)
        return True

    def _answer(self, c: Line) -> None:
        request = None
        try:
            request = c.recv()
            _, name, args, kwds = request
            assert name in self.public, f"{name!r} unrecognized"  # noqa: S101  the standard library's
            result = getattr(self, name)(c, *args, **kwds)
        except EOFError:
            return
        except Exception:  # noqa: BLE001  it is told to whoever asked
            reply: Reply = ("#TRACEBACK", format_exc())
        else:
            reply = ("#RETURN", result)
        self._send(c, reply, "#TRACEBACK")

    def serve_client(self, conn: Line) -> None:
        """Do what the proxies of one thread ask for, until it goes away."""
        owned = Owned()
        try:
            while not self.stop_event.is_set():
                try:
                    message = conn.recv_bytes()
                except (EOFError, OSError):
                    return
                reply, undo = self._call(conn, message, owned)
                was_told = self._send(conn, reply, "#UNSERIALIZABLE")
                del reply  # an error's traceback has this frame
                if not was_told:
                    undo()
                    return
        finally:
            owned.give_up()

    def _send(self, c: Line, reply: Reply, otherwise: str) -> bool:
        """Whether the client got the reply, or was told what is wrong with it."""
        try:
            try:
                message = c.pack(reply)
            except Exception:  # noqa: BLE001  reducers are anybody's code
                message = c.pack((otherwise, format_exc()))
            c.send_bytes(message)
        except (OSError, EOFError) as error:
            util.info("a client has gone before its answer: %s", error)
            return False
        return True

    # ---- calls ------------------------------------------------------------------

    def _call(self, c: Line, message: bytes, owned: Owned) -> tuple[Reply, Callable[[], object]]:
        """The reply to a call; and how to take the call back, when nobody is there any more to get it."""
        name: Any = None
        obj: Any = None
        try:
            ident, name, args, kwds = c.unpack(message)
            obj, exposed, typeids = self._object(ident)
            if name not in exposed:
                raise AttributeError(  # noqa: TRY301  as that of a method that does not exist
                    f"method {name!r} of {type(obj)!r} object is not in exposed={exposed!r}"
                )
            function = getattr(obj, name)
        except AttributeError:
            if name not in self.fallback_mapping:
                return ("#TRACEBACK", format_exc()), int
            return self._fall_back(c, name, ident, obj, args, kwds), int
        except Exception:  # noqa: BLE001  it is told to whoever asked
            return ("#TRACEBACK", format_exc()), int
        try:
            result = function(*args, **kwds)
            typeid = typeids and typeids.get(name)
            if typeid:
                rident, rexposed = self.create(c, typeid, result)
                return ("#PROXY", (rexposed, Token(typeid, self.address, rident))), int
        except Exception as error:  # noqa: BLE001  it is raised where the method was called
            return ("#ERROR", error), int
        except BaseException:  # noqa: BLE001  of a method that wants to end the process: the server is not its to end
            return ("#TRACEBACK", format_exc()), int
        return ("#RETURN", result), owned.note(obj, name, result)

    def _object(self, ident: str) -> tuple[Any, ...]:
        try:
            return self.id_to_obj[ident]
        except KeyError:
            if ident in self.id_to_local_proxy_obj:
                return self.id_to_local_proxy_obj[ident]
            raise

    def _fall_back(self, c: Line, name: str, ident: str, obj: Any, args: Any, kwds: Any) -> Reply:
        try:
            return "#RETURN", self.fallback_mapping[name](self, c, ident, obj, *args, **kwds)
        except Exception:  # noqa: BLE001  it is told to whoever asked
            return "#TRACEBACK", format_exc()

    def fallback_getvalue(self, conn: Line, ident: str, obj: Any) -> Any:  # noqa: ARG002
        """The object itself, by value."""
        return obj

    def fallback_str(self, conn: Line, ident: str, obj: Any) -> str:  # noqa: ARG002
        """`str(obj)`."""
        return str(obj)

    def fallback_repr(self, conn: Line, ident: str, obj: Any) -> str:  # noqa: ARG002
        """`repr(obj)`."""
        return repr(obj)

    fallback_mapping: ClassVar[dict[Any, Any]] = {
        "__str__": fallback_str,
        "__repr__": fallback_repr,
        "#GETVALUE": fallback_getvalue,
    }

    # ---- requests ---------------------------------------------------------------

    def dummy(self, c: Line) -> None:
        """Nothing: whoever is answered is connected."""

    def debug_info(self, c: Line) -> str:  # noqa: ARG002
        """The objects that proxies refer to, a line or two for each."""
        with self.mutex:
            return "\n".join(
                f"  {ident}:       refcount={count}\n    {str(self.id_to_obj[ident][0])[:75]}"
                for ident, count in sorted(self.id_to_refcount.items())
                if ident != "0"
            )

    def number_of_objects(self, c: Line) -> int:  # noqa: ARG002
        """How many objects proxies refer to."""
        return len(self.id_to_refcount)

    def shutdown(self, c: Line) -> None:
        """End the server."""
        try:
            self._send(c, ("#RETURN", None), "#TRACEBACK")
        finally:
            self.stop_event.set()

    def create(self, c: Line, typeid: str, /, *args: Any, **kwds: Any) -> tuple[str, tuple[str, ...]]:
        """Make an object of a registered type; its id, and the names of the methods that may be called."""
        if typeid not in self.registry:
            known = ", ".join(sorted(self.registry)) or "none"
            raise KeyError(f"no type is registered here as {typeid!r}; registered: {known}")
        make, exposed, method_to_typeid, _proxytype = self.registry[typeid]
        if make is None:
            if kwds or len(args) != 1:
                raise ValueError("Without callable, must have one non-keyword argument")
            obj = args[0]
        else:
            obj = make(*args, **kwds)
        names: Iterable[str] = public_methods(obj) if exposed is None else exposed
        if method_to_typeid is not None:
            if not isinstance(method_to_typeid, dict):
                kind = type(method_to_typeid)
                raise TypeError(f"Method_to_typeid {method_to_typeid!r}: type {kind!s}, not dict")
            names = [*names, *method_to_typeid]
        ident = f"{id(obj):x}"
        with self.mutex:
            self.id_to_obj[ident] = (obj, set(names), method_to_typeid)
            self.id_to_refcount.setdefault(ident, 0)
        self.incref(c, ident)
        return ident, tuple(names)

    def get_methods(self, c: Line, token: Token) -> tuple[str, ...]:  # noqa: ARG002
        """The names of the methods of an object that may be called."""
        return tuple(self.id_to_obj[str(token.id)][1])

    def accept_connection(self, c: Line, name: str) -> None:
        """Serve one thread's proxies over this connection."""
        threading.current_thread().name = name
        if self._send(c, ("#RETURN", None), "#TRACEBACK"):
            self.serve_client(c)

    def incref(self, c: Line, ident: str) -> None:
        """One more proxy refers to an object."""
        with self.mutex:
            if ident not in self.id_to_refcount:
                # Objects of the server may refer to it when no client does any more.
                self.id_to_obj[ident] = self.id_to_local_proxy_obj[ident]
                self.id_to_refcount[ident] = 0
            self.id_to_refcount[ident] += 1
        self._tenants.note(c.fileno(), ident)

    def decref(self, c: Line, ident: str) -> None:
        """One proxy less. The last one frees the object."""
        self._tenants.forget(c.fileno(), ident)
        self._release(ident)

    def _let_go(self, ident: str) -> None:
        """The process of a proxy has ended."""
        try:
            self._release(ident)
        except (KeyError, AssertionError) as error:  # somebody counts in a way of its own
            util.info("what a dead client referred to: %r", error)

    def _release(self, ident: str) -> None:
        with self.mutex:
            if ident not in self.id_to_refcount and ident in self.id_to_local_proxy_obj:
                return
            if self.id_to_refcount[ident] <= 0:
                obj, count = self.id_to_obj[ident], self.id_to_refcount[ident]
                raise AssertionError(f"Id {ident} ({obj!r}) has refcount {count}, not 1+")
            self.id_to_refcount[ident] -= 1
            if self.id_to_refcount[ident]:
                return
            del self.id_to_refcount[ident]
            # It may hold proxies of this server's, whose ends come back here: not before the mutex is free.
            freed = self.id_to_obj.pop(ident)
        del freed


def _is_of_this_user(fd: int) -> bool:
    """Whether who is at the other end of a local socket is this user, or root."""
    _pid, user = peer_of(fd)
    return user in (0, os.geteuid())


for function in (all_methods, public_methods):
    function.__module__ = "procession.managers"
