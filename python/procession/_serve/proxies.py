"""Proxies of objects in a server.

They are subclasses of the standard library's, for programs that ask by isinstance(); what
is done is done here.
"""

from collections.abc import Callable
from multiprocessing import managers as standard
from multiprocessing import process, util
from multiprocessing.context import get_spawning_popen
from typing import Any, ClassVar

from procession._serve.links import GONE, Link, report_death
from procession._serve.messages import (
    Token,
    convert_to_error,
    dispatch,
    in_standard_names,
    listener_client,
    travels_as,
)

# mypy: disable-error-code="override, misc, assignment, attr-defined, no-untyped-call"


class BaseProxy(standard.BaseProxy):
    """Stands for an object in a manager's server; its methods run there, arguments and results are copies.

    A result that is a proxy stands for the object itself. When the server has ended every call raises
    ManagerDiedError at once. An exception of the object's method is raised here; what goes wrong
    around it, in the server, is a RemoteError with the traceback from there.
    """

    __module__ = "procession.managers"

    _is_auto: ClassVar[bool] = False
    _exposed_: Any

    def __init__(
        self,
        token: Token,
        serializer: str,
        manager: Any = None,
        authkey: bytes | None = None,
        exposed: Any = None,  # noqa: ARG002  of AutoProxy
        incref: bool = True,
        manager_owned: bool = False,
    ) -> None:
        self._link = Link.to(token.address)
        self._tls, self._idset = self._link
        self._token, self._id = token, token.id
        self._manager = manager
        self._serializer = serializer
        self._Client = listener_client[serializer][1]
        self._owned_by_manager = manager_owned
        if authkey is None:
            authkey = process.current_process().authkey if manager is None else manager._authkey
        self._authkey = process.AuthenticationString(authkey)
        if incref:
            self._incref()
        util.register_after_fork(self, BaseProxy._after_fork)

    def _new_line(self) -> Any:
        return self._Client(self._token.address, authkey=self._authkey)

    def _connect(self) -> None:
        self._link.drop()
        self._link.line(self._new_line)

    def _callmethod(self, methodname: str, args: Any = (), kwds: Any = {}) -> Any:  # noqa: B006  theirs
        """Call a method of the object; a copy of its result."""
        kind, result = self._ask((self._id, methodname, args, kwds))
        if kind == "#RETURN":
            return result
        if kind == "#PROXY":
            return self._proxy_of(*result)
        try:
            raise convert_to_error(kind, result)
        finally:
            del result  # the error's traceback has this frame

    def _ask(self, request: Any) -> Any:
        try:
            line = self._link.line(self._new_line)
        except GONE as error:
            report_death(self._token.address, error)
        message = line.pack(request)
        try:
            line.send_bytes(message)
            answer = line.recv_bytes()
        except GONE as error:
            self._link.drop()
            report_death(self._token.address, error)
        except BaseException:
            self._link.drop()  # the answer would be the next call's
            raise
        return line.unpack(answer)

    def _proxy_of(self, exposed: Any, token: Token) -> Any:
        """A proxy of what a method has returned; the server holds a reference for it."""
        token.address = self._token.address
        typeid: Any = token.typeid
        manager = self._manager
        proxytype = _type_of(typeid) if manager is None else manager._registry[typeid][-1]
        proxy = proxytype(
            token, self._serializer, manager=self._manager, authkey=self._authkey, exposed=exposed
        )
        with self._new_line() as line:
            dispatch(line, None, "decref", (token.id,))
        return proxy

    def _getvalue(self) -> Any:
        """A copy of the object."""
        return self._callmethod("#GETVALUE")

    def _incref(self) -> None:
        if self._owned_by_manager:
            return
        try:
            with self._new_line() as line:
                dispatch(line, None, "incref", (self._id,))
        except GONE as error:
            report_death(self._token.address, error)
        self._idset.add(self._id)
        state = self._manager and self._manager._state
        arguments = self._token, self._authkey, state, self._link, self._Client
        self._close = util.Finalize(self, BaseProxy._decref, args=arguments, exitpriority=10)

    @staticmethod
    def _decref(token: Token, authkey: bytes, state: Any, link: Link, _Client: Any) -> None:
        link.held.discard(token.id)
        if state is None or state.value == standard.State.STARTED:
            try:
                with _Client(token.address, authkey=authkey) as line:
                    dispatch(line, None, "decref", (token.id,))
            except Exception as error:  # noqa: BLE001  a server that has gone has no references to be counted
                util.debug("decref failed: %s", error)
        if not link.held:
            link.drop()

    def _after_fork(self) -> None:
        self._manager = None
        try:
            self._incref()
        except Exception as error:  # noqa: BLE001  the proxy may be for a manager that has shut down
            util.info("incref failed: %s", error)

    def __reduce__(self) -> tuple[Any, ...]:
        kwds: dict[str, Any] = {}
        if get_spawning_popen() is not None:
            kwds["authkey"] = self._authkey
        if self._is_auto:
            kwds["exposed"] = self._exposed_
            return RebuildProxy, (AutoProxy, self._token, self._serializer, kwds)
        return RebuildProxy, (type(self), self._token, self._serializer, kwds)

    def _reduce_for_message(self) -> Any:
        return in_standard_names(self.__reduce__())

    def __deepcopy__(self, memo: object) -> Any:
        return self._getvalue()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} object, typeid {self._token.typeid!r} at {id(self):#x}>"

    def __str__(self) -> str:
        """What the object's repr is; this proxy's when it cannot be had."""
        try:
            text: str = self._callmethod("__repr__")
        except Exception:  # noqa: BLE001  the standard library's
            return repr(self)[:-1] + "; '__str__()' failed>"
        return text


def RebuildProxy(func: Any, token: Token, serializer: str, kwds: dict[str, Any]) -> Any:
    """A proxy out of a pickle. In the process whose object it stands for, it does not count as a reference."""
    here = process.current_process()
    server = getattr(here, "_manager_server", None)
    if server and server.address == token.address:
        kwds["manager_owned"] = True
        server.id_to_local_proxy_obj.setdefault(token.id, server.id_to_obj.get(token.id))
    incref = kwds.pop("incref", True) and not getattr(here, "_inheriting", False)
    return func(token, serializer, incref=incref, **kwds)


def _caller(name: str) -> Callable[..., Any]:
    def method(self: BaseProxy, /, *args: Any, **kwds: Any) -> Any:
        return self._callmethod(name, args, kwds)

    method.__name__ = method.__qualname__ = name
    return method


_made: dict[Any, Any] = {}


def MakeProxyType(name: str, exposed: Any) -> Any:
    """A class of proxies whose methods are `exposed`."""
    key = name, tuple(exposed)
    if key not in _made:
        methods: dict[str, Any] = {method: _caller(method) for method in key[1]}
        about = {"_exposed_": key[1], "__module__": "procession.managers"}
        _made[key] = type(name, (BaseProxy,), {**methods, **about})
    return _made[key]


def AutoProxy(
    token: Token,
    serializer: str,
    manager: Any = None,
    authkey: bytes | None = None,
    exposed: Any = None,
    incref: bool = True,
    manager_owned: bool = False,
) -> Any:
    """A proxy with the public methods of the object that `token` names."""
    if authkey is None:
        authkey = process.current_process().authkey if manager is None else manager._authkey
    if exposed is None:
        with listener_client[serializer][1](token.address, authkey=authkey) as line:
            exposed = dispatch(line, None, "get_methods", (token,))
    kind = MakeProxyType(f"AutoProxy[{token.typeid!s}]", exposed)
    proxy = kind(
        token, serializer, manager=manager, authkey=authkey, incref=incref, manager_owned=manager_owned
    )
    proxy._is_auto = True
    return proxy


_result_types: dict[str, Any] = {}


def results_are(typeid: str, proxytype: Any) -> None:
    """The type of proxies that methods of the standard library's types return, for proxies that know no manager."""
    _result_types[typeid] = proxytype


def _type_of(typeid: str) -> Any:
    return _result_types.get(typeid, AutoProxy)


travels_as(standard.BaseProxy, BaseProxy)
for function in (RebuildProxy, MakeProxyType, AutoProxy):
    function.__module__ = "procession.managers"
    travels_as(getattr(standard, function.__name__), function)
