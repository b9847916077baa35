"""`procession doctor`: each thing that a system can lack is seen, named and explained."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from procession._cli.doctor import limits

SUPPORT = pathlib.Path(__file__).parents[1] / "support"
DOCTOR = [sys.executable, "-m", "procession", "doctor"]

NAMES = [
    "kernel", "memfd", "tmpfile", "fallocate", "punch_hole", "ofd_locks", "proc", "wipe_on_fork", "futex",
    "pidfd", "eventfd", "descriptor_passing", "parent_death_signal", "cgroup_kill", "pidfd_info",
    "address_space", "file_size", "descriptors", "processes", "cgroup_memory", "dev_shm",
    "core", "arena", "fork", "spawn", "forkserver",
]  # fmt: skip


class Report:
    def __init__(self, done):
        assert done.stderr == ""
        self.status = done.returncode
        self.all = json.loads(done.stdout)
        self.verdict = self.all["verdict"]
        self.findings = {found["name"]: found for found in self.all["findings"]}

    def bad(self):
        return {name: found["state"] for name, found in self.findings.items() if found["state"] != "ok"}


def examine(before="", **environment):
    """What the doctor says after `before` has run in its process."""
    code = f"import os, resource, sys; sys.path.insert(0, {str(SUPPORT)!r}); import seccomp\n{before}\n"
    code += f"os.execv({sys.executable!r}, {[*DOCTOR, '--json']!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}
    )
    return Report(done)


def test_a_good_system():
    report = examine()
    assert (report.status, report.verdict) == (0, "works")
    assert set(report.bad().values()) <= {"absent"}
    assert list(report.findings) == NAMES
    assert report.all["arena"]["size"] == 64 << 30
    assert report.all["arena"]["place"] == "memfd"


def test_the_schema():
    """Programs read it: additions are fine, changes are a new number."""
    report = examine().all
    assert report["schema"] == 1
    assert set(report) == {
        "schema", "verdict", "procession", "python", "system", "environment", "arena", "findings", "standard_library",
    }  # fmt: skip
    assert set(report["procession"]) == {"version", "refusal"}
    assert set(report["python"]) == {"version", "implementation", "executable", "start_method"}
    assert set(report["system"]) >= {"kernel", "machine", "cpus", "cpus_allowed", "cpus_usable"}
    assert set(report["arena"]) == {"size", "committed", "place"}
    for found in report["findings"]:
        assert set(found) == {"name", "group", "state", "detail", "remedy"}
        assert found["state"] in ("ok", "absent", "warning", "failed")
        assert found["detail"]


@pytest.mark.parametrize(("before", "name", "state", "verdict", "status"), [
    ("seccomp.refuse('memfd_create')", "memfd", "absent", "works", 0),
    ("seccomp.refuse('fallocate', 95)", "fallocate", "failed", "unusable", 3),
    ("seccomp.refuse('fallocate', 95, argument=1, equals=3)", "punch_hole", "absent", "works", 0),
    ("seccomp.refuse('fcntl', 22, argument=1, equals=37)", "ofd_locks", "failed", "unusable", 3),
    ("seccomp.refuse('madvise', 22, argument=2, equals=18)", "wipe_on_fork", "failed", "unusable", 3),
    ("seccomp.refuse('madvise', 22, argument=2, equals=10)", "ofd_locks", "failed", "unusable", 3),
    ("seccomp.refuse('pidfd_open', 38)", "pidfd", "failed", "unusable", 3),
    ("seccomp.refuse('prctl', argument=0, equals=1)", "parent_death_signal", "warning", "warnings", 1),
    ("seccomp.refuse('ioctl', 25, argument=1, equals=0xC040FF0B)", "pidfd_info", "absent", "works", 0),
    ("resource.setrlimit(resource.RLIMIT_AS, (2 << 30, -1))", "address_space", "warning", "warnings", 1),
    ("resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, -1))", "file_size", "warning", "warnings", 1),
    ("resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, -1))", "file_size", "failed", "unusable", 3),
    ("resource.setrlimit(resource.RLIMIT_NOFILE, (40, 100))", "descriptors", "warning", "warnings", 1),
])  # fmt: skip
def test_what_a_system_lacks(before, name, state, verdict, status):
    report = examine(before)
    found = report.findings[name]
    assert (found["state"], report.verdict, report.status) == (state, verdict, status), report.bad()
    assert found["remedy"]


def test_groups_that_are_not_delegated():
    assert examine("seccomp.refuse('mkdir', 30)").bad()["cgroup_kill"] == "absent"


def test_a_file_where_memfd_is_refused():
    report = examine("seccomp.refuse('memfd_create')")
    assert report.all["arena"]["place"] == "an unlinked file in /dev/shm"


def test_nowhere_to_put_shared_memory():
    report = examine("seccomp.refuse('memfd_create'); seccomp.refuse_temporary_files()")
    assert report.status == 3
    assert report.all["arena"] is None
    assert report.findings["arena"]["state"] == "failed"
    assert "memfd_create" in report.findings["arena"]["detail"]


def test_settings_are_told():
    report = examine(PROCESSION_ARENA="64M")
    assert report.all["environment"] == {"PROCESSION_ARENA": "64M"}
    assert report.all["arena"]["size"] == 64 << 20
    report = examine(PROCESSION_ARENA="huge")
    assert (report.status, report.findings["arena"]["state"]) == (3, "failed")
    assert "PROCESSION_ARENA='huge'" in report.findings["arena"]["detail"].replace('"', "'")


def patched(tmp_path, code):
    """An environment whose interpreters run `code` when they start."""
    (tmp_path / "sitecustomize.py").write_text(code)
    return {**os.environ, "PYTHONPATH": str(tmp_path)}


def test_an_old_kernel(tmp_path):
    """Where `import procession` refuses, the doctor is wanted most."""
    old = "import os\nos.uname = lambda: os.uname_result(['Linux', 'h', '4.19.0-27-amd64', '', 'x86_64'])\n"
    environment = patched(tmp_path, old)
    for command in (DOCTOR, [os.path.join(os.path.dirname(sys.executable), "procession"), "doctor"]):
        done = subprocess.run([*command, "--json"], capture_output=True, text=True, env=environment)
        report = Report(done)
        sentence = "procession needs Linux 5.4 or newer, and this kernel is 4.19.0-27-amd64"
        assert (report.status, report.all["procession"]["refusal"]) == (3, sentence)
        assert report.findings["kernel"]["state"] == "failed"
        assert sentence in report.findings["core"]["detail"]
    done = subprocess.run(DOCTOR, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (3, "")
    assert sentence in done.stdout
    done = subprocess.run(
        [sys.executable, "-m", "procession"], capture_output=True, text=True, env=environment
    )
    assert sentence in done.stderr  # no other command runs


@pytest.mark.parametrize(("name", "broken"), [
    ("procession._native", "core"), ("_ctypes", None), ("procession._wire.carry", "arena"),
])  # fmt: skip
def test_a_broken_installation(tmp_path, name, broken):
    hide = f"import sys\nsys.modules[{name!r}] = None\n"
    done = subprocess.run([*DOCTOR, "--json"], capture_output=True, text=True, env=patched(tmp_path, hide))
    report = Report(done)
    if broken:
        assert report.status == 3
        assert name.rpartition(".")[2] in report.findings[broken]["detail"]
    else:
        assert "it cannot be tried" in report.findings["futex"]["detail"]


def test_as_people_read_it():
    done = subprocess.run(DOCTOR, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    first, second, *_ = done.stdout.splitlines()
    assert first.startswith("procession ")
    assert second.startswith("procession works here (")
    for name in NAMES:
        assert f" {name} " in done.stdout


@pytest.mark.parametrize("words", [["--jsno"], ["me"], ["--json", "--json"]])
def test_usage(words):
    done = subprocess.run([*DOCTOR, *words], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("procession: doctor does not understand")


def tree(folder, files):
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


@pytest.mark.parametrize(("files", "membership", "left"), [
    ({"a/memory.max": "1000", "a/memory.current": "900", "a/b/memory.max": "max", "a/b/memory.current": "1"},
     "0::/a/b\n", [100]),
    ({"a/memory.max": "1000", "a/memory.current": "900", "a/b/memory.max": "500", "a/b/memory.current": "1"},
     "0::/a/b\n", [499, 100]),
    ({"memory/x/memory.limit_in_bytes": "5000", "memory/x/memory.usage_in_bytes": "1000",
      "memory/memory.limit_in_bytes": "9223372036854771712", "memory/memory.usage_in_bytes": "1"},
     "4:memory:/x\n3:cpu:/y\n", [4000]),
    ({"memory.max": "700", "memory.current": "800"}, "0::/../../outside\n", [0]),
    ({"unified/memory.max": "700", "unified/memory.current": "500"}, "1:name=systemd:/\n0::/\n", [200]),
    ({"memory.max": "max"}, "0::/\n", []),
    ({}, "", []),
])  # fmt: skip
def test_memory_of_control_groups(tmp_path, files, membership, left):
    groups = limits.memory_groups(tree(tmp_path, files), membership)
    assert [group.left for group in groups] == left


@pytest.mark.parametrize(("number", "words"), [
    (0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (64 << 30, "64 GiB"), (5 << 50, "5120 TiB"),
])  # fmt: skip
def test_sizes(number, words):
    assert limits.size(number) == words
