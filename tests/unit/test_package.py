"""The package as a whole: import, names, what it refuses."""

import os
import subprocess
import sys

import pytest

import procession
from procession._base import platform


def evaluate(code, **options):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, **options
    )


def test_import_has_no_side_effect():
    done = evaluate(
        "import os, sys, threading\n"
        "def state():\n"
        " maps = open('/proc/self/maps').read()\n"
        " return sorted(os.listdir('/proc/self/fd')), threading.active_count(), maps.count('memfd')\n"
        "before = state()\n"
        "import procession\n"
        "print(state() == before, 'procession._native' in sys.modules, 'multiprocessing' in sys.modules)\n"
    )
    assert (done.stdout, done.stderr) == ("True False False\n", "")


def test_a_pool_needs_no_large_module():
    """Each forked worker copies the tables of its parent's pages."""
    large = ["ast", "dataclasses", "inspect", "pathlib", "urllib.parse"]
    done = evaluate(f"import sys, procession.pool\nprint([name for name in {large} if name in sys.modules])")
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize(("change", "sentence"), [
    ("sys.platform = 'darwin'", "procession runs on Linux only, and this is darwin"),
    ("sys.implementation = types.SimpleNamespace(name='pypy', cache_tag='p')",
     "procession runs on CPython only, and this is pypy"),
    ("sys.version_info = (3, 10, 4)", "procession needs Python 3.11 or newer, and this is 3.10"),
    ("os.uname = lambda: types.SimpleNamespace(release='4.19.0-27-amd64')",
     "procession needs Linux 5.4 or newer, and this kernel is 4.19.0-27-amd64"),
])  # fmt: skip
def test_where_it_does_not_run(change, sentence):
    done = evaluate(f"import os, sys, types\n{change}\nimport procession")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"ImportError: {sentence}"


def test_not_in_a_subinterpreter():
    done = evaluate(
        "try: import _interpreters as i\n"
        "except ImportError: import _xxsubinterpreters as i\n"
        "import sys\n"
        "code = 'try:\\n import procession\\nexcept ImportError as e: print(e, flush=True)'\n"
        "i.run_string(i.create(), code)\n"
    )
    assert done.stdout == "procession works in the main interpreter only, and this is a subinterpreter\n"


@pytest.mark.parametrize(("release", "version"), [
    ("5.4.0", (5, 4)), ("6.18.44-fc-v669", (6, 18)), ("5.10-rc1", (5, 10)),
    ("6.1.0-18-amd64", (6, 1)), ("7", (7, 0)),
])  # fmt: skip
def test_kernel_versions(release, version):
    assert platform.kernel_version(release) == version


def test_compat_tells_the_truth():
    listed = procession.compat()
    fork = procession.get_context("fork")
    ours = ("Lock", "RLock", "Semaphore", "BoundedSemaphore", "Event", "Condition", "Barrier")
    for name in (*ours, "Value", "Array", "RawValue", "RawArray", "Process"):
        assert name not in listed
    for name, what in listed.items():
        if name in ("fork", "spawn", "forkserver"):
            continue
        module, _, attribute = what.rpartition(".")
        __import__(module)
        assert hasattr(sys.modules[module], attribute)
        assert hasattr(fork, name)
    assert procession.compat() is not listed


def test_version():
    from importlib import metadata

    assert procession.__version__ == metadata.version("procession")


def test_it_is_typed():
    assert os.path.exists(os.path.join(os.path.dirname(procession.__file__), "py.typed"))
