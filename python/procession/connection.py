"""Connections: pipes, and sockets that programs listen at and connect to."""

from importlib import import_module
from typing import Any

from procession import _shared  # noqa: F401  the core knows what to raise before the first connection exists
from procession._wire.authentication import answer_challenge, deliver_challenge
from procession._wire.connections import (
    Connection,
    Pipe,
    _open_parcel,
    _unpack,
    rebuild_connection,
    reduce_connection,
)
from procession._wire.listeners import (
    Client,
    Listener,
    SocketClient,
    SocketListener,
    XmlClient,
    XmlListener,
)
from procession._wire.readiness import wait

__all__ = ["Client", "Listener", "Pipe", "wait"]

_OURS = (
    Connection,
    SocketClient,
    SocketListener,
    XmlClient,
    XmlListener,
    answer_challenge,
    deliver_challenge,
    _open_parcel,
    _unpack,
    rebuild_connection,
    reduce_connection,
)
"""Public in the standard library's module without being in its `__all__`, or found here by pickles."""


def __getattr__(name: str) -> Any:
    return getattr(import_module("multiprocessing.connection"), name)
