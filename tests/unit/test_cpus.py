"""procession.cpus(): affinity, control groups, and what the user says."""

import contextlib
import os
import pathlib
import subprocess
import sys

import pytest
from children import finish

import procession
from procession import _native

fork = procession.get_context("fork")


def test_affinity_is_heeded(start):
    def narrow():
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        sys.exit(procession.cpus())

    assert finish(start(fork, narrow)) == 1
    assert 1 <= procession.cpus() <= procession.cpu_count()


@pytest.mark.parametrize(("quota", "expected"), [(1, 1), (None, 3), (5, 3)])
def test_the_least_counts(monkeypatch, quota, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    monkeypatch.setattr(os, "process_cpu_count", lambda: 3, raising=False)
    monkeypatch.setattr(_native, "cpu_quota", lambda: quota)
    assert procession.cpus() == expected


@pytest.mark.skipif(sys.version_info < (3, 13), reason="the interpreter has no such option")
def test_what_the_user_says_counts_first():
    code = "import procession; print(procession.cpus())"
    said = subprocess.run([sys.executable, "-X", "cpu_count=17", "-c", code], capture_output=True, text=True)
    assert said.stdout == "17\n"


def folder_of_a_group():
    """A place for a control group with a quota of its own: (folder, file, what to write for half a processor)."""
    one = pathlib.Path("/sys/fs/cgroup/cpu")
    two = pathlib.Path("/sys/fs/cgroup")
    name = f"procession-test-{os.getpid()}"
    if os.getuid() != 0:
        return None
    if (one / "cpu.cfs_quota_us").exists() or (one / "tasks").exists():
        return one / name, "cpu.cfs_quota_us", "50000"
    if "cpu" in (two / "cgroup.subtree_control").read_text().split():
        return two / name, "cpu.max", "50000 100000"
    return None


@pytest.mark.root
def test_a_quota_of_the_kernel_s(start, eventually):
    place = folder_of_a_group()
    if place is None:
        pytest.skip("needs a control group with a processor quota")
    folder, file, quota = place

    def ask():
        (folder / "cgroup.procs").write_text(str(os.getpid()))
        sys.exit(procession.cpus())

    def is_removed():
        with contextlib.suppress(OSError):
            folder.rmdir()
        return not folder.exists()

    try:
        folder.mkdir()
        (folder / file).write_text(quota)
        assert finish(start(fork, ask)) == 1
    except (FileNotFoundError, PermissionError) as error:
        pytest.skip(f"this kernel has no quotas: {error}")
    finally:
        eventually(is_removed)
