"""Managers of ours and of the standard library on the two sides of one wire, in programs that have only the one library."""

import pathlib
import subprocess
import sys

import pytest

import procession.managers

PEER = pathlib.Path(__file__).parents[1] / "support" / "manager_peer.py"
LIBRARIES = ["multiprocessing", "procession"]


def command(library, role, port=0):
    # The interpreter behind the virtual environment has no procession.
    python = sys._base_executable if library == "multiprocessing" else sys.executable
    return [python, str(PEER), library, role, str(port)]


def run(library, role, port):
    done = subprocess.run(command(library, role, port), capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(params=LIBRARIES)
def port(request):
    """Where a server of one of the libraries listens."""
    with subprocess.Popen(command(request.param, "serve"), stdout=subprocess.PIPE, text=True) as server:
        try:
            number = int(server.stdout.readline())
            yield number
            run("procession", "stop", number)
            assert server.wait(20) == 0
        finally:
            server.kill()


def test_every_type(port):
    theirs, ours = [run(library, "look", port) for library in LIBRARIES]
    assert theirs == ours
    assert len(ours.splitlines()) == 18
    assert ours.splitlines()[-4:] == ["RemoteError True"] * 3 + ["15"]


@pytest.mark.parametrize(
    ("writer", "reader"), [("procession", "multiprocessing"), ("multiprocessing", "procession")]
)
def test_proxies_that_another_has_put_there(port, writer, reader):
    run(writer, "write", port)
    assert run(reader, "read", port).splitlines() == [
        "[1, 2, 3] {'x': [1, 2, 3]} ['dict', 'list', 'lock', 'queue']",
        f"['ListProxy', 'DictProxy', 'AcquirerProxy'] {reader}.managers",
    ]


def test_a_proxy_of_ours_in_a_message_needs_no_procession():
    token = procession.managers.Token("list", ("127.0.0.1", 1), "1f")
    proxy = procession.managers.ListProxy(token, "pickle", authkey=b"k", incref=False)
    line = procession.managers.listener_client["pickle"]
    assert b"procession" not in line[1].__globals__["_dumps"]({"nested": [proxy]})
