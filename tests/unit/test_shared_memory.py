"""Named segments: whoever is killed, what is tracked goes with the family of its creator, and nothing else goes."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest
from segments import Program, exists, is_gone, tags, warden

from procession.shared_memory import SharedMemory

NEXT = "procession.Value('i')"  # any program that makes an arena


@pytest.fixture
def program(tmp_path):
    """Starts programs, which have all ended afterwards."""
    running = []

    def start(text, *arguments, **options):
        running.append(Program(tmp_path, text, *arguments, **options))
        return running[-1]

    yield start
    for one in running:
        one.__exit__()


CREATOR = """
    segment = SharedMemory(create=True, size=100)
    untracked = SharedMemory(create=True, size=100, track=False)
    segment.buf[:4] = b"ours"
    say(segment.name, untracked.name)
    listen()
"""


def kill_warden(name, eventually):
    pid = warden(name)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: warden(name) is None)


# ---- who is killed -------------------------------------------------------------------


def test_a_killed_creator(program, eventually):
    """What it tracked goes, what it did not track stays, and who is attached goes on."""
    creator = program(CREATOR)
    name, untracked = creator.words()
    attached = SharedMemory(name)
    assert len(tags(name)) == 1 and not tags(untracked)
    creator.kill()
    eventually(lambda: is_gone(name))
    attached.buf[4:6] = b"!!"
    assert bytes(attached.buf[:6]) == b"ours!!"
    attached.close()
    left = SharedMemory(untracked)
    left.unlink()
    left.close()


FAMILY = """
    from procession import get_context

    def work(name, queue):
        own, parents = SharedMemory(create=True, size=10), SharedMemory(name)
        queue.put((os.getpid(), own.name, bytes(parents.buf[:4])))
        sleep()

    if __name__ == "__main__":
        segment = SharedMemory(create=True, size=10)
        segment.buf[:4] = b"ours"
        queue = procession.Queue()
        for method in ("fork", "spawn", "forkserver"):
            get_context(method).Process(target=work, args=(segment.name, queue)).start()
        told = [queue.get() for _ in range(3)]
        assert {what for _, _, what in told} == {b"ours"}
        say(segment.name, *(name for _, name, _ in told))
        say(*(pid for pid, _, _ in told))
        listen()
"""


def test_a_family_that_is_killed_whole(program, eventually):
    family = program(FAMILY)
    names = family.words()
    family.words()
    assert all(map(exists, names)) and len({warden(name) for name in names}) == 1
    family.kill_group()
    eventually(lambda: all(map(is_gone, names)))


def test_what_a_family_has_stays_until_its_last_process_ends(program, eventually):
    family = program(FAMILY)
    names, pids = family.words(), family.words()
    watcher = warden(names[0])
    family.kill()
    for pid in map(int, pids[:2]):
        os.kill(pid, signal.SIGKILL)
    assert program(NEXT).finish() == (0, "", "")
    assert all(map(exists, names)) and warden(names[0]) == watcher
    os.kill(int(pids[2]), signal.SIGKILL)
    eventually(lambda: all(map(is_gone, names)))
    eventually(lambda: not pathlib.Path(f"/proc/{watcher}").exists())


def test_a_warden_that_is_killed_with_the_family(program, eventually):
    """The next program of the user removes what is left."""
    creator = program(CREATOR)
    name, untracked = creator.words()
    kill_warden(name, eventually)
    assert program(NEXT).finish() == (0, "", "")
    assert exists(name)  # the creator lives
    creator.kill()
    assert exists(name) and tags(name)
    assert program(NEXT).finish() == (0, "", "")
    assert is_gone(name) and exists(untracked)
    os.unlink(f"/dev/shm/{untracked}")


def test_a_family_without_a_warden_whose_creator_is_dead(program, eventually):
    """Somebody of it lives: nobody else sweeps."""
    family = program(FAMILY)
    names, pids = family.words(), family.words()
    kill_warden(names[0], eventually)
    family.kill()
    for pid in map(int, pids[1:]):
        os.kill(pid, signal.SIGKILL)
        eventually(lambda pid=pid: not is_running(pid))
    assert program(NEXT).finish() == (0, "", "")
    assert all(map(exists, names))
    family.kill_group()
    eventually(lambda: not is_running(int(pids[0])))
    assert program(NEXT).finish() == (0, "", "")
    assert all(map(is_gone, names))


def test_who_cannot_look_removes_nothing(program, eventually):
    """Sweepers that have some free descriptors, but not enough."""
    family = program("""
        def work(queue):
            queue.put(SharedMemory(create=True, size=10).name)
            os.kill(os.getpid(), signal.SIGKILL)

        if __name__ == "__main__":
            queue = procession.Queue()
            child = procession.get_context("fork").Process(target=work, args=(queue,))
            child.start()
            say(queue.get())
            child.join()
            say(child.exitcode)
            listen()
    """)
    (name,) = family.words()
    assert family.words() == [str(-signal.SIGKILL)]
    kill_warden(name, eventually)
    text = """
        import resource
        from procession import _native
        free = os.dup(0)
        os.close(free)
        for more in range(4):
            if os.fork() == 0:
                resource.setrlimit(resource.RLIMIT_NOFILE, (free + more, free + 10))
                try:
                    _native.ensure_arena()
                except OSError:
                    say("refused")
                os._exit(0)
            assert os.wait()[1] == 0
    """
    status, out, errors = program(text).finish()
    assert (status, errors) == (0, "") and "refused" in out
    assert exists(name) and tags(name)
    family.kill_group()
    assert program(NEXT).finish() == (0, "", "")
    assert is_gone(name)


def test_a_member_that_hides_its_memory(program, eventually):
    """Its child has made a segment and is dead; it began earlier, and nobody may look into it. It lives."""
    maker = program("""
        import ctypes
        from procession import _native

        def become_nobody():
            if os.getuid() == 0:
                os.setuid(65534)

        told, tell = os.pipe()
        sweeper = os.fork()
        if sweeper == 0:
            become_nobody()
            os.read(told, 1)
            _native.ensure_arena()
            os._exit(0)
        ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE
        value = procession.Value("i")
        if os.fork() == 0:
            become_nobody()
            say(SharedMemory(create=True, size=10).name)
            sleep()
        listen()
        os.write(tell, b".")
        assert os.waitpid(sweeper, 0) == (sweeper, 0)
        say("swept")
        listen()
    """)
    (name,) = maker.words()
    (tag,) = tags(name)
    watcher = warden(name)
    for pid in (watcher, int(tag.split()[5], 16)):
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            eventually(lambda pid=pid: not is_running(pid))
    maker.go_on()
    assert maker.words() == ["swept"]
    assert exists(name) and tags(name)
    maker.kill_group()
    SharedMemory(name).unlink()


def is_running(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_new_warden(program, eventually):
    """There is one again when the next segment is made, and when the program ends with segments that it left."""
    creator = program("""
        left = [SharedMemory(create=True, size=1)]
        say(left[0].name)
        listen()
        left.append(SharedMemory(create=True, size=1))
        say(left[1].name)
        listen()
    """)
    (first,) = creator.words()
    kill_warden(first, eventually)
    creator.go_on()
    (second,) = creator.words()
    assert warden(first) == warden(second) is not None
    kill_warden(first, eventually)
    creator.go_on()
    assert creator.finish() == (0, "", "")
    eventually(lambda: is_gone(first) and is_gone(second))


# ---- whose a name is -----------------------------------------------------------------


def test_a_name_that_somebody_else_has_made_anew(program, eventually):
    """Two families with one name, and a name that a program without tags has taken."""
    name = f"procession_test_{os.getpid()}"
    text = f"""
        again = SharedMemory({name!r}, create=True, size=10)
        other = SharedMemory({name!r} + "_other", create=True, size=10)
        say(again.name)
        listen()
    """
    first = program(text)
    first.words()
    for each in (name, f"{name}_other"):
        os.unlink(f"/dev/shm/{each}")  # as a program does that knows no tags
    second = program(text)
    second.words()
    os.unlink(f"/dev/shm/{name}")
    mine = open(f"/dev/shm/{name}", "xb")  # noqa: SIM115
    watcher = warden(f"{name}_other") if len(tags(f"{name}_other")) == 1 else None
    first.kill()
    eventually(lambda: len(tags(f"{name}_other")) == 1)
    assert exists(name) and exists(f"{name}_other") and watcher is None
    second.kill()
    eventually(lambda: is_gone(f"{name}_other") and not tags(name))
    assert exists(name)
    mine.close()
    os.unlink(mine.name)


ATTACHERS = """
    from {module} import SharedMemory
    import os, signal, sys
    segment = SharedMemory(sys.argv[1]{track})
    assert bytes(segment.buf[:4]) == b"ours"
    segment.buf[4] += 1
    if sys.argv[2] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_attaching_destroys_nothing(program):
    segment = SharedMemory(create=True, size=10)
    segment.buf[:4] = b"ours"
    attachers = [ATTACHERS.format(module="procession.shared_memory", track="")]
    if sys.version_info >= (3, 13):
        attachers.append(ATTACHERS.format(module="multiprocessing.shared_memory", track=", track=False"))
    for text in attachers:
        for end in ("cleanly", "killed"):
            status, out, errors = program(text, segment.name, end).finish()
            assert (status, out, errors) == (-signal.SIGKILL * (end == "killed"), "", "")
    assert segment.buf[4] == 2 * len(attachers) and exists(segment.name)
    segment.close()
    segment.unlink()
    assert is_gone(segment.name)


def test_who_forgets_a_segment_and_who_remembers_it(program, eventually):
    """The well-known call that keeps the standard library from removing what it attached to; and its opposite."""
    creator = program("""
        kept, forgotten = [SharedMemory(create=True, size=1) for _ in range(2)]
        untracked = SharedMemory(create=True, size=1, track=False)
        again = SharedMemory(kept.name)
        for each in (forgotten, forgotten, untracked):
            resource_tracker.unregister(each._name, "shared_memory")
        for _ in range(2):
            resource_tracker.register(untracked._name, "shared_memory")
        procession.install()
        from multiprocessing import resource_tracker as standard, shared_memory
        assert shared_memory.SharedMemory is SharedMemory and shared_memory.ShareableList is ShareableList
        standard.unregister(kept._name, "shared_memory")
        standard.register(kept._name, "shared_memory")
        say(kept.name, forgotten.name, untracked.name)
        listen()
    """)
    kept, forgotten, untracked = creator.words()
    creator.go_on()
    assert creator.finish() == (0, "", "")
    eventually(lambda: is_gone(kept) and is_gone(untracked))
    assert exists(forgotten) and not tags(forgotten)
    os.unlink(f"/dev/shm/{forgotten}")


# ---- the warden itself ---------------------------------------------------------------


def test_a_warden_has_nothing_of_its_maker(program):
    """No descriptor, memory, session, folder or child of it; its pipes end with the program, not with the warden."""
    maker = program(
        """
        import numpy
        large = bytearray(os.urandom(1 << 20)) * 200
        before = set(os.listdir("/proc/self/task")), set(os.listdir("/proc/self/fd"))
        signal.signal(signal.SIGCHLD, lambda *_: say("SIGCHLD"))
        queue = procession.Queue()
        queue.put_many([numpy.frombuffer(large, "u1")] * 2)  # one copy for both, until somebody writes
        received = queue.get()
        queue.get()
        received[::4096] = 1  # pages of its own
        segment = SharedMemory(create=True, size=1)
        say(segment.name)
        listen()
        try:
            say("child", os.wait())
        except ChildProcessError:
            say("childless", len(os.listdir("/proc/self/fd")) - len(before[1]))
        if os.fork() == 0:
            for fd in range(3):
                os.close(fd)
            sleep()
        say("forked")
        listen()
        """
    )
    (name,) = maker.words()
    pid = warden(name)
    folder = pathlib.Path(f"/proc/{pid}")
    status = dict(
        line.split(":\t", 1) for line in (folder / "status").read_text().splitlines() if ":\t" in line
    )
    assert status["PPid"] != str(maker.process.pid) and status["Name"] == "procession-ward"
    assert int(status["VmRSS"].split()[0]) < 4096 and int(status["SigBlk"], 16) & 0x7FFF == 0x7FFF & ~0x100
    (descriptor,) = (folder / "fd").iterdir()
    assert "memfd:procession" in os.readlink(descriptor) or "/dev/shm" in os.readlink(descriptor)
    assert (os.readlink(folder / "cwd"), (folder / "cmdline").read_bytes().strip(b"\0")) == (
        "/",
        b"procession-warden",
    )
    assert os.getsid(pid) != os.getsid(maker.process.pid)
    maker.go_on()
    assert maker.words() == ["childless", "3"]  # the arena; the segment, and its mapping's
    assert maker.words() == ["forked"]
    maker.kill()
    assert maker.process.stdout.read() == b""
    assert exists(name) and warden(name) == pid


def test_who_adopts_orphans_sees_no_child(program, eventually):
    maker = program("""
        import ctypes
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
        segment = SharedMemory(create=True, size=1)
        say(segment.name)
        try:
            say("child", os.wait())
        except ChildProcessError:
            say("childless")
        listen()
    """)
    (name,) = maker.words()
    assert maker.words() == ["childless"] and warden(name)
    maker.kill()
    eventually(lambda: is_gone(name))


PRELOADED = """
    #include <errno.h>
    #include <fcntl.h>
    #include <stdarg.h>
    #include <sys/stat.h>
    #include <sys/syscall.h>
    #include <time.h>
    #include <unistd.h>
    #define ARGUMENT(type, last) va_list rest; va_start(rest, last); type argument = va_arg(rest, type); va_end(rest);
    #define OPEN { ARGUMENT(int, flags) return syscall(SYS_openat, AT_FDCWD, path, flags, argument); }
    ssize_t read(int fd, void *into, size_t n) { return syscall(SYS_read, fd, into, n); }
    ssize_t pread(int fd, void *into, size_t n, off_t at) { return syscall(SYS_pread64, fd, into, n, at); }
    ssize_t pread64(int fd, void *into, size_t n, off_t at) { return syscall(SYS_pread64, fd, into, n, at); }
    int close(int fd) { return syscall(SYS_close, fd); }
    int nanosleep(const struct timespec *t, struct timespec *rest) { return syscall(SYS_nanosleep, t, rest); }
    int open(const char *path, int flags, ...) OPEN
    int open64(const char *path, int flags, ...) OPEN
    int fcntl(int fd, int call, ...) { ARGUMENT(void *, call) return syscall(SYS_fcntl, fd, call, argument); }
    int fcntl64(int fd, int call, ...) { ARGUMENT(void *, call) return syscall(SYS_fcntl, fd, call, argument); }
"""


def test_functions_of_libc_in_another_library(program, tmp_path, eventually):
    """As libpthread has them before glibc 2.34: the warden calls them when all else is gone."""
    source, library = tmp_path / "preloaded.c", tmp_path / "preloaded.so"
    source.write_text(PRELOADED)
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wl,-z,now", "-o", library, source], check=True)
    creator = program(CREATOR, environment={"LD_PRELOAD": str(library)})
    name, untracked = creator.words()
    os.unlink(f"/dev/shm/{untracked}")
    creator.kill()
    eventually(lambda: is_gone(name))


def test_no_warden_can_be_started(program, eventually):
    """The segment is made all the same. The user's next program looks after it."""
    creator = program("""
        import resource
        from procession import _native
        _native.ensure_arena()
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + 2, free + 2))  # a segment, and its mapping's
        segment = SharedMemory(create=True, size=10)
        say(segment.name)
        listen()
    """)
    (name,) = creator.words()
    assert exists(name) and tags(name) and warden(name) is None
    creator.kill()
    assert program(NEXT).finish() == (0, "", "")
    assert is_gone(name)


def test_unlinked_segments_leave_nothing(program):
    """Also by processes of other families, by children, and in a pool."""
    maker = program("""
        def make(size):
            segment = SharedMemory(create=True, size=size)
            segment.buf[-1] = 1
            return segment

        def end(segment):
            segment.close()
            segment.unlink()

        if __name__ == "__main__":
            with procession.Pool(2) as pool:
                made = pool.map(make, range(1, 9))
                assert [segment.buf[-1] for segment in made] == [1] * 8
                pool.map(end, made[:4])
            for segment in made[4:]:
                end(segment)
            say(*(segment.name for segment in made))
            listen()
    """)
    assert all(map(is_gone, maker.words()))
    segment = SharedMemory(create=True, size=1)
    other = program("SharedMemory(sys.argv[1]).unlink()", segment.name)
    assert other.finish() == (0, "", "")
    assert is_gone(segment.name)
    segment.close()


def test_a_program_that_makes_none_has_no_warden():
    done = subprocess.run(
        [sys.executable, "-c", "import procession.shared_memory; from procession import _native as n; print(n.has_arena())"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "False\n"
