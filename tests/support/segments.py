"""Programs with named segments, and who watches over them."""

import os
import pathlib
import signal
import subprocess
import sys
import textwrap

FOLDER = pathlib.Path("/dev/shm")

PRELUDE = """
import multiprocessing, os, signal, sys, time
import procession
from procession import resource_tracker
from procession.shared_memory import SharedMemory, ShareableList

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def listen():
    return os.read(0, 1)

def sleep():
    time.sleep(1000)

"""


class Program:
    """A program in a process group of its own, which is dead when the block ends."""

    def __init__(self, folder, text, *arguments, environment=None, python=sys.executable):
        path = folder / f"program{len(list(folder.iterdir()))}.py"
        path.write_text(PRELUDE + textwrap.dedent(text))
        self.process = subprocess.Popen(
            [python, path, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.kill_group()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            pipe.close()

    def words(self):
        """The next line that it says."""
        line = self.process.stdout.readline().decode().split()
        assert line, self.process.stderr.read().decode()
        return line

    def go_on(self):
        self.process.stdin.write(b".")
        self.process.stdin.flush()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def kill_group(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    def finish(self):
        """Its end, all that it said since, and its errors."""
        out, errors = self.process.communicate(timeout=60)
        return self.process.returncode, out.decode(), errors.decode()


def exists(name):
    return (FOLDER / name).exists()


def tags(name):
    """The texts of the tags that mean a segment."""
    found = []
    for path in FOLDER.glob("procession-*"):
        try:
            text = os.readlink(path)
        except OSError:  # gone meanwhile
            continue
        if text.endswith(f" {name}"):
            found.append(text)
    return found


def warden(name):
    """The pid of the warden of the family that has tagged a segment; None when there is none."""
    (tag,) = tags(name)
    inode = int(tag.split()[3], 16)
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            is_one = (folder / "cmdline").read_bytes().startswith(b"procession-warden")
            if is_one and f" {inode} " in (folder / "maps").read_text():
                return int(folder.name)
        except OSError:
            continue
    return None


def is_gone(name):
    return not exists(name) and not tags(name)
