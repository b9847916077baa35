"""Compress every file under a folder into one archive, with several processes.

    python examples/archive.py FOLDER OUT.tar                    sentinels, on multiprocessing
    procession run examples/archive.py FOLDER OUT.tar            the same program on procession
    python examples/archive.py FOLDER OUT.tar --way joinable     a JoinableQueue and daemons

The archive is a tar of .gz members: workers read and compress, the main process writes.
The ways differ in one thing only: how each side learns that there is nothing more.
"""

import argparse
import contextlib
import functools
import gzip
import io
import multiprocessing
import tarfile
import time
from pathlib import Path

from tqdm import tqdm


def compress(path):
    """The file's size, and its content as gzip would store it; the same bytes every time."""
    data = path.read_bytes()
    return len(data), gzip.compress(data, mtime=0)


class Archive(contextlib.ExitStack):
    """The tar that grows, with a progress bar: bytes read so far."""

    def __init__(self, folder, out, files):
        super().__init__()
        self.folder = folder
        self.size = sum(path.stat().st_size for path in files)
        self.tar = tarfile.TarFile(out, "w")
        self.callback(self.tar.close)
        self.names = set()

    @functools.cached_property
    def bar(self):
        """Made when the first file comes: tqdm starts a thread, and forks should come before threads."""
        return self.enter_context(tqdm(total=self.size, unit="B", unit_scale=True, disable=None))

    def add(self, path, size, compressed):
        """Write one file. Twice is once: a worker that died may have delivered before it did."""
        name = f"{path.relative_to(self.folder)}.gz"
        if name in self.names:
            return
        self.names.add(name)
        member = tarfile.TarInfo(name)
        member.size = len(compressed)
        self.tar.addfile(member, io.BytesIO(compressed))
        self.bar.update(size)


def until_sentinel(tasks, results):
    """A worker: None is the end, and is passed on."""
    for path in iter(tasks.get, None):
        results.put((path, *compress(path)))
    results.put(None)


def with_sentinels(files, archive, options):
    """One None for each worker, and one back from each."""
    tasks, results = multiprocessing.Queue(), multiprocessing.Queue(maxsize=64)
    workers = [
        multiprocessing.Process(target=until_sentinel, args=(tasks, results))
        for _ in range(options.processes)
    ]
    for worker in workers:
        worker.start()
    for path in files:
        tasks.put(path)
    for _ in workers:
        tasks.put(None)
    working = len(workers)
    while working:
        result = results.get()
        if result is None:
            working -= 1
        else:
            archive.add(*result)
    for worker in workers:
        worker.join()


def for_ever(tasks, results):
    """A worker that never learns of the end: a daemon goes with the program."""
    while True:
        path = tasks.get()
        results.put((path, *compress(path)))
        tasks.task_done()


def with_joinable(files, archive, options):
    """task_done() for each task, join() for all: only then every result is there."""
    tasks, results = multiprocessing.JoinableQueue(), multiprocessing.Queue()
    for _ in range(options.processes):
        multiprocessing.Process(target=for_ever, args=(tasks, results), daemon=True).start()
    for path in files:
        tasks.put(path)
    tasks.join()
    for _ in files:
        archive.add(*results.get())


def run(ways, parser=None):
    """Read the arguments, archive in the way that they name, and say how fast that was."""
    parser = parser or argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("-p", "--processes", type=int, default=2)
    parser.add_argument("--way", choices=ways, default=next(iter(ways)))
    options = parser.parse_args()
    files = sorted(path for path in options.folder.rglob("*") if path.is_file())
    began = time.perf_counter()
    with Archive(options.folder, options.out, files) as archive:
        ways[options.way](files, archive, options)
    seconds, megabytes = time.perf_counter() - began, archive.size / 1e6
    print(f"{len(archive.names)} files, {megabytes:.1f} MB at {megabytes / seconds:.0f} MB/s")


if __name__ == "__main__":
    run({"sentinels": with_sentinels, "joinable": with_joinable})
