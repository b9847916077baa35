"""Proving to each other that both know the same key, before anything is unpickled.

    server                                    client
    `#CHALLENGE#{sha256}` and 40 random bytes
                                              `{sha256}` and the HMAC of what follows `#CHALLENGE#`
    `#WELCOME#` or `#FAILURE#`

then the same with the parts exchanged. Python before 3.12 knows HMAC-MD5 only: its
challenge is 20 bytes without a name of a digest, its answers are 16. It takes our challenge
for a long one of its own, and we answer its challenges in its way. The name is part of
what is authenticated, so nobody in between can talk two modern ends down to MD5.

No message of the handshake is longer than 256 bytes: who sends more is refused by the
length that it announces.
"""

import os
from importlib import import_module
from multiprocessing import AuthenticationError
from typing import Any, Final, Protocol

CHALLENGE: Final = b"#CHALLENGE#"
WELCOME: Final = b"#WELCOME#"
FAILURE: Final = b"#FAILURE#"

LONGEST: Final = 256  # bytes of a message of the handshake
_RANDOM: Final = 40  # bytes of a challenge; more than an old one has
_OLD_CHALLENGE: Final = 20  # bytes, Python before 3.12
_OLD_ANSWER: Final = 16  # bytes of an HMAC-MD5
_DIGESTS: Final = frozenset({b"md5", b"sha256", b"sha384", b"sha3_256", b"sha3_384"})
_LONGEST_NAME: Final = max(map(len, _DIGESTS))


class Line(Protocol):
    """What a handshake needs of a connection."""

    def send_bytes(self, buf: bytes, /) -> None: ...
    def recv_bytes(self, maxlength: int, /) -> bytes: ...


def _mac(authkey: bytes, message: bytes, digest: str) -> bytes:
    computed: bytes = import_module("hmac").new(authkey, message, digest).digest()
    return computed


def _digest_of(message: bytes) -> tuple[str, bytes]:
    """The name of the digest that a challenge or an answer begins with, and the rest; no name in an old one."""
    if len(message) in (_OLD_CHALLENGE, _OLD_ANSWER):
        return "", message
    if message.startswith(b"{") and (end := message.find(b"}", 1, _LONGEST_NAME + 2)) > 0:
        name = message[1:end]
        if name in _DIGESTS:
            return name.decode("ascii"), message[end + 1 :]
    raise AuthenticationError(
        f"unsupported message length, missing digest prefix, or unsupported digest: {message=}"
    )


def _answer(authkey: bytes, challenge: bytes) -> bytes:
    digest = _digest_of(challenge)[0]
    if not digest:
        try:
            return _mac(authkey, challenge, "md5")
        except ValueError:  # a system that forbids MD5: the other end may know better than it says
            digest = "sha256"
    return b"{%s}%s" % (digest.encode("ascii"), _mac(authkey, challenge, digest))


def _verify(authkey: bytes, challenge: bytes, answer: bytes) -> None:
    digest, mac = _digest_of(answer)
    digest = digest or "md5"
    try:
        expected = _mac(authkey, challenge, digest)
    except ValueError:
        raise AuthenticationError(f"this system does not support {digest}") from None
    if len(expected) != len(mac):
        raise AuthenticationError(f"expected {digest!r} of length {len(expected)} got {len(mac)}")
    if not import_module("hmac").compare_digest(expected, mac):
        raise AuthenticationError("digest received was wrong")


def _check(authkey: Any) -> None:
    if not isinstance(authkey, bytes):
        raise ValueError(f"Authkey must be bytes, not {type(authkey)!s}")  # noqa: TRY004  as the standard library


def deliver_challenge(connection: Line, authkey: bytes, digest_name: str = "sha256") -> None:
    """Have the other end prove that it knows `authkey`; AuthenticationError when it does not."""
    _check(authkey)
    challenge = b"{%s}%s" % (digest_name.encode("ascii"), os.urandom(_RANDOM))
    connection.send_bytes(CHALLENGE + challenge)
    answer = connection.recv_bytes(LONGEST)
    try:
        _verify(authkey, challenge, answer)
    except AuthenticationError:
        connection.send_bytes(FAILURE)
        raise
    connection.send_bytes(WELCOME)


def answer_challenge(connection: Line, authkey: bytes) -> None:
    """Prove to the other end that we know `authkey`; AuthenticationError when it does not believe it."""
    _check(authkey)
    message = connection.recv_bytes(LONGEST)
    if not message.startswith(CHALLENGE):
        raise AuthenticationError(f"Protocol error, expected challenge: {message=}")
    challenge = message[len(CHALLENGE) :]
    if len(challenge) < _OLD_CHALLENGE:
        raise AuthenticationError(f"challenge too short: {len(challenge)} bytes")
    connection.send_bytes(_answer(authkey, challenge))
    if connection.recv_bytes(LONGEST) != WELCOME:
        raise AuthenticationError("digest sent was rejected")
