"""What the system may refuse, and what then happens: a named error before anything has changed, or a way around.

Each case is a program of its own, because limits are a process's for good.
"""

import errno
import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
from typing import Any

import pytest

SUPPORT = pathlib.Path(__file__).parents[1] / "support"
PREAMBLE = f"""
import contextlib, ctypes, errno, gc, json, os, resource, sys
sys.path.insert(0, {str(SUPPORT)!r})
import seccomp
import procession
from procession import _native
procession.Lock, procession.Value, procession.get_context("fork")  # names load lazily: not under the limits

def use():
    "All is well: a lock is made and taken, a child takes it too."
    lock, value = procession.Lock(), procession.Value("q", 1)
    with lock:
        value.add(1)
    assert value.value == 2
    pid = os.fork()
    if pid == 0:
        ok = lock.acquire(timeout=5)
        _native.leave()
        os._exit(not ok)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    report = _native.fsck()
    assert not report["inconsistent"] and not report["leaked"], report

def exhaust(size=1 << 20):
    "Memory until there is no more; what is there stays whole, and serves again when some was given back."
    kept = []
    with contextlib.suppress(MemoryError):
        while len(kept) < 4096:
            kept.append(_native.Memory(size))
        sys.exit("no end of memory")
    before = _native.fsck()
    for _ in range(3):
        with contextlib.suppress(MemoryError):
            kept.append(_native.Memory(size))
            sys.exit("there was memory after all")
    after = _native.fsck()
    assert not after["inconsistent"] and not after["leaked"], after
    assert after["objects"] == before["objects"], (before, after)
    number = len(kept)
    del kept[number // 2:]
    kept.append(_native.Memory(size))
    return number

def error_of(act):
    try:
        act()
    except BaseException as error:
        return [cls.__name__ for cls in type(error).__mro__], str(error)
    return None
"""


def run(code: str, *, environment: dict[str, str] | None = None, seconds: float = 50) -> Any:
    """Runs a program; what its `result` was."""
    program = PREAMBLE + textwrap.dedent(code) + "\nprint(json.dumps(result))\n"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    if done.returncode < 0:
        pytest.fail(f"killed by {signal.Signals(-done.returncode).name}\n{done.stderr}")
    if done.returncode == 77:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def must_name(found: Any, kind: str, *words: str) -> None:
    assert found is not None, f"no error, where {kind} was expected"
    kinds, text = found
    assert kind in kinds, f"{kinds[0]}: {text}"
    for word in words:
        assert word in text, f"{word!r} is not in {text!r}"


def test_bounded_arena():
    assert run("result = exhaust(); use()", environment={"PROCESSION_ARENA": "32M"}) > 10


def test_bounded_arena_too_small():
    found = run("result = error_of(procession.Lock)", environment={"PROCESSION_ARENA": "1"})
    assert found is not None
    assert "PROCESSION_ARENA" in found[1] or "MemoryError" in found[0]


def test_address_space():
    """RLIMIT_AS leaves no room for the whole arena: a smaller window will do."""
    room = 400 << 20
    code = f"""
        pages = int(open("/proc/self/statm").read().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + {room}, resource.RLIM_INFINITY))
        use()
        result = exhaust()
        use()
    """
    assert run(code) > 1


def test_no_address_space_at_all():
    code = """
        pages = int(open("/proc/self/statm").read().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + (1 << 20), resource.RLIM_INFINITY))
        result = error_of(procession.Lock)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        use()
    """
    must_name(run(code), "MemoryError")


def test_file_size():
    """RLIMIT_FSIZE would kill by SIGXFSZ: it is looked at first."""
    code = f"""
        resource.setrlimit(resource.RLIMIT_FSIZE, ({64 << 20}, resource.RLIM_INFINITY))
        use()
        result = exhaust()
        use()
    """
    assert run(code) > 1


def test_no_file_size_at_all():
    code = """
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        result = error_of(procession.Lock)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        use()
    """
    must_name(run(code), "MemoryError")


def test_strict_overcommit():
    """As under overcommit_memory=2: no large map is granted."""
    run("seccomp.refuse_large_maps(); use(); result = None")


@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOSYS, errno.EINVAL], ids=errno.errorcode.get)
def test_no_memfd(error):
    """An unlinked file in /dev/shm serves instead."""
    code = f"""
        seccomp.refuse("memfd_create", {error})
        before = set(os.listdir("/dev/shm"))
        use()
        target = os.readlink(f"/proc/self/fd/{{_native.arena_fd()}}")
        assert set(os.listdir("/dev/shm")) <= before, "a file is left"
        result = target
    """
    assert run(code).startswith("/dev/shm/")


@pytest.mark.root
@pytest.mark.skipif(os.getuid() != 0, reason="needs root: a mount namespace")
def test_no_memfd_and_no_dev_shm(tmp_path):
    """TMPDIR is the last resort."""
    code = """
        CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 0x40000
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNS) or libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None):
            sys.stderr.write("no mount namespaces"), sys.exit(77)
        # An empty /proc-less file system that refuses files.
        if libc.mount(b"sysfs", b"/dev/shm", b"sysfs", 1, None):
            sys.stderr.write("cannot mount over /dev/shm"), sys.exit(77)
        seccomp.refuse("memfd_create")
        use()
        result = os.readlink(f"/proc/self/fd/{_native.arena_fd()}")
    """
    assert run(code, environment={"TMPDIR": str(tmp_path)}).startswith(str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_no_file_at_all():
    code = """
        seccomp.refuse("memfd_create")
        seccomp.refuse_temporary_files()
        result = error_of(procession.Lock)
    """
    must_name(run(code), "UnsupportedPlatformError", "O_TMPFILE")


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.ENOMEM], ids=errno.errorcode.get)
def test_no_memory(error):
    """fallocate refuses: MemoryError, and what there was stays as it was."""
    code = f"""
        lock = procession.Lock()
        seccomp.refuse("fallocate", {error})
        result = error_of(lambda: [_native.Memory(1 << 20) for _ in range(100)])
        with lock:
            pass
        report = _native.fsck()
        assert not report["inconsistent"] and not report["leaked"], report
        pid = os.fork()
        if pid == 0:
            refused = error_of(lambda: lock.acquire(timeout=5))
            os._exit(refused is not None and "MemoryError" not in refused[0])
        assert os.wait()[1] == 0, "a child met another error than MemoryError"
    """
    must_name(run(code), "MemoryError")


def test_no_memory_for_the_first_object():
    code = f"""
        seccomp.refuse("fallocate", {errno.ENOSPC})
        result = error_of(procession.Lock)
    """
    must_name(run(code), "MemoryError")


LIVENESS = {
    "F_OFD_SETLK": f'"fcntl", {errno.EINVAL}, argument=1, equals=37',
    "MADV_DONTFORK": f'"madvise", {errno.EINVAL}, argument=2, equals=10',
    "MADV_WIPEONFORK": f'"madvise", {errno.EINVAL}, argument=2, equals=18',
}


@pytest.mark.parametrize("call", LIVENESS)
def test_liveness_is_never_weaker(call):
    """What the proof of life needs and the system lacks is an error that names it."""
    found = run(f"seccomp.refuse({LIVENESS[call]}); result = error_of(procession.Lock)")
    must_name(found, "UnsupportedPlatformError", call)


@pytest.mark.root
@pytest.mark.skipif(os.getuid() != 0, reason="needs root: a mount namespace")
def test_no_proc():
    code = """
        CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 0x40000
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNS) or libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None):
            sys.stderr.write("no mount namespaces"), sys.exit(77)
        if libc.mount(b"tmpfs", b"/proc", b"tmpfs", 0, None):
            sys.stderr.write("cannot mount over /proc"), sys.exit(77)
        result = error_of(procession.Lock)
    """
    must_name(run(code), "UnsupportedPlatformError", "/proc")


def test_closed_descriptors_with_a_family():
    """The arena's descriptor comes back from a living relative."""
    code = """
        lock = procession.Lock()
        ready, told = os.pipe()
        relative = os.fork()
        if relative == 0:
            lock.locked()
            os.write(told, b"r")
            import signal
            signal.pause()
        os.read(ready, 1)
        os.closerange(3, 1000)
        with lock:
            pass
        use()
        kept = [_native.Memory(1 << 20) for _ in range(8)]
        os.kill(relative, 9)
        os.waitpid(relative, 0)
        result = None
    """
    run(code)


def test_closed_descriptors_alone():
    """With nobody to ask: what needs no descriptor goes on, and the rest works or says what was lost."""
    code = """
        lock = procession.Lock()
        os.closerange(3, 1000)
        with lock:
            pass
        result = error_of(use)
    """
    found = run(code)
    assert found is None or "ArenaLostError" in found[0], found


def test_reused_descriptor():
    """Another file in the descriptor's place is not taken for the arena."""
    code = """
        lock = procession.Lock()
        fd = _native.statistics()["fd"]
        other = os.open("/dev/null", os.O_RDWR)
        os.dup2(other, fd)
        with lock:
            pass
        found = error_of(use)
        assert os.path.samestat(os.fstat(fd), os.stat("/dev/null")), "the user's file was closed"
        result = found
    """
    found = run(code)
    assert found is None or "ArenaLostError" in found[0], found


def test_daemon_starts_a_process():
    """Fork twice, close everything, start a Process: the classic daemon."""
    code = """
        lock, value = procession.Lock(), procession.Value("q", 0)
        told, tell = os.pipe()
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                keep = os.dup2(tell, 900)
                os.closerange(3, 900)
                said = "nothing"
                try:
                    process = procession.get_context("fork").Process(target=value.add, args=(1,))
                    process.start()
                    process.join()
                    with lock:
                        said = f"{process.exitcode} {value.value}"
                except BaseException as error:
                    said = f"{type(error).__name__}: {error}"
                os.write(900, said.encode())
                os._exit(0)
            os._exit(0)
        os.wait()
        os.close(tell)
        result = os.read(told, 1000).decode()
    """
    assert run(code) == "0 1"


MEMORY_GROUP = pathlib.Path("/sys/fs/cgroup/memory")


@pytest.fixture
def memory_group():
    """A memory control group of this test's own, with 96 MiB."""
    own = next(
        (
            line.split(":", 2)[2]
            for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines()
            if ":memory:" in line
        ),
        None,
    )
    if own is None:
        pytest.skip("no memory controller of version 1 here")
    group = MEMORY_GROUP / own.lstrip("/") / f"procession-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(96 << 20))
    except OSError as error:
        pytest.skip(f"no control group of our own: {error}")
    yield group
    group.rmdir()


@pytest.mark.root
def test_memory_group(memory_group):
    """In a control group the kernel kills who takes too much: the limit is looked at before."""
    code = f"""
        open("{memory_group}/cgroup.procs", "w").write(str(os.getpid()))
        result = exhaust()
        use()
    """
    assert 1 < run(code) < 96
