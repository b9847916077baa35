"""terminate(tree=True) and kill(tree=True): who is reached, in which order, and who is not."""

import contextlib
import os
import pathlib
import resource
import signal
import subprocess
import sys

import pytest
from children import finish
from family import METHODS, Relative

import procession
from procession import _native
from procession._launch import control_group, forkserver
from procession._launch import tree as process_tree

RELATIVES = ["child", "child_with_child", "grandchild", "forked", "executed", "executed_by_shell", "worker"]

fork = procession.get_context("fork")


def unified_hierarchy():
    """Where control groups of version 2 are mounted and may be made; None where they may not."""
    mounted = control_group._mount_point()
    return mounted if mounted and os.access(mounted, os.W_OK) and os.getuid() == 0 else None


@pytest.fixture
def group(eventually):
    """The folder of a control group, to be made by the test's program, and removed when that has ended."""
    folder = pathlib.Path(f"{unified_hierarchy()}/procession-test-{os.getpid()}")
    yield folder

    def is_removed(path):
        with contextlib.suppress(FileNotFoundError, OSError):  # busy: somebody is ending still
            path.rmdir()
        return not path.exists()

    for path in (folder / "tree", folder):
        eventually(lambda path=path: is_removed(path))


needs_groups = pytest.mark.skipif(unified_hierarchy() is None, reason="needs a control group to divide")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_everybody_is_reached_and_nobody_else(family, method, how):
    scene = family(method, "tree", how)
    relatives = [scene[name] for name in RELATIVES]
    scene.go_on()
    assert all(relative.is_gone() for relative in relatives)
    scene[f"exitcode:{-signal.SIGKILL if how == 'kill' else -signal.SIGTERM}"]
    assert scene["other"].lives()
    assert scene["main"].lives()


def test_handlers_run(family):
    scene = family("fork", "tree", "terminate", "be_polite_workers")
    relatives = [scene["child"], scene["worker"]]
    scene.go_on()
    assert all(relative.is_gone() for relative in relatives)
    names = scene.names()
    assert {"child_heard_of_it", "worker_heard_of_it"} <= names


def test_a_supervisor_is_told_before_its_children(family):
    scene = family("fork", "tree", "terminate", "supervise")
    child, worker = scene["child"], scene["worker"]
    scene.go_on()
    assert child.is_gone()
    assert worker.is_gone()
    scene["exitcode:0"]
    assert "replacement" not in scene.names()


def test_who_goes_on_starting_processes_does_not_keep_us(family):
    scene = family("fork", "tree", "terminate", "respawn")
    worker = scene["worker"]
    scene.go_on()
    worker.kill()
    scene["exitcode:-9"]


def test_a_process_of_the_same_pid_is_not_hit():
    cat = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    pid, started = process_tree.identify(cat.pid)
    process_tree._send((pid, started + 1), signal.SIGKILL)
    assert cat.poll() is None
    assert process_tree._children((os.getpid(), 0)) == []
    cat.stdin.close()
    assert cat.wait() == 0
    assert process_tree.identify(cat.pid) is None
    process_tree._send((pid, started), signal.SIGKILL)


def test_a_child_whose_parent_ends_while_we_look(family, monkeypatch):
    scene = family("fork", "tree", "kill", "have_a_child")
    grandchild = scene["grandchild"]
    parent = process_tree.identify(_native.process_status(grandchild.pid)[0])

    def list_and_kill(pid):
        listed = children_of(pid)
        relative = Relative(pid)
        relative.close()
        return listed

    children_of = _native.children_of
    monkeypatch.setattr(_native, "children_of", list_and_kill)
    assert process_tree._children(parent) == [process_tree.identify(grandchild.pid)]


def test_one_that_has_ended(start):
    child = start(fork, int)
    assert finish(child) == 0
    child.kill(tree=True)
    child.terminate(tree=True)
    child.close()
    with pytest.raises(ValueError, match="process object is closed"):
        child.kill(tree=True)


def test_one_that_has_not_started():
    with pytest.raises(AttributeError):
        fork.Process().kill(tree=True)


def test_nobody_is_signalled_where_not_all_could_be_seen(start):
    def use_all_up():
        reader, writer = os.pipe()
        child = start(fork, os.read, reader, 1)
        resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
        taken = []
        with pytest.raises(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        with pytest.raises(OSError, match="Too many open files"):
            child.kill(tree=True)
        for fd in taken:
            os.close(fd)
        os.write(writer, b".")
        sys.exit(finish(child))

    assert finish(start(fork, use_all_up)) == 0


def test_segments_are_removed(family, eventually):
    scene = family("fork", "tree", "kill", "have_a_segment")
    eventually(lambda: any(name.startswith("/dev/shm") for name in scene.names()))
    segment = pathlib.Path(next(name for name in scene.names() if name.startswith("/dev/shm")))
    assert segment.exists()
    scene.go_on()
    scene["exitcode:-9"]
    eventually(lambda: not segment.exists())


def test_an_orphan_is_out_of_reach(family):
    scene = family("fork", "tree", "kill", "leave_an_orphan")
    orphan, worker = scene["orphan"], scene["worker"]
    scene.go_on()
    assert worker.is_gone()
    scene["exitcode:-9"]
    assert orphan.lives()


@pytest.mark.root
@needs_groups
class TestWithAControlGroup:
    def test_an_orphan_is_reached(self, group, family):
        scene = family("fork", "tree_in_a_group", str(group), "leave_an_orphan")
        orphan, worker = scene["orphan"], scene["worker"]
        scene.go_on()
        assert worker.is_gone()
        assert orphan.is_gone()
        assert scene["other"].lives()

    def test_nobody_escapes_by_being_forked(self, group, family, eventually):
        scene = family("fork", "tree_in_a_group", str(group), "storm")
        scene["worker"]
        scene.go_on()
        scene["exitcode:-9"]
        eventually(lambda: not (group / "tree" / "cgroup.procs").read_text())

    def test_a_group_that_others_are_in_is_spared(self, group, family):
        scene = family("fork", "tree_in_a_group", str(group), "be_a_leaf")
        other, leaf = scene["other"], scene["leaf"]
        (group / "tree" / "cgroup.procs").write_text(str(other.pid))
        scene.go_on()
        assert leaf.is_gone()
        scene["exitcode:-9"]
        assert other.lives()


@pytest.mark.parametrize(
    ("group", "other", "below"),
    [
        ("/a/b", "/a", True),
        ("/a", "/", True),
        ("/a", "/a", False),
        ("/", "/", False),
        ("/ab", "/a", False),
        ("/a", "/a/b", False),
        ("/../b", "/", False),
    ],
)
def test_which_groups_lie_below(group, other, below):
    assert control_group._is_below(group, other) is below


def test_a_child_of_a_zygote_is_found_before_it_has_arrived(monkeypatch):
    """Between its start and its arrival it would otherwise be nobody's child but the zygote's."""
    found = []

    def go(*arguments):
        found.extend(_native.children_of(os.getpid()))
        original(*arguments)

    original = forkserver.go
    monkeypatch.setattr(forkserver, "go", go)
    child = procession.get_context("forkserver").Process(target=int)
    child.start()
    assert child.pid in found
    assert finish(child) == 0
    child.close()
