"""Count the words of the Python standard library's source code, with several processes.

    python examples/word_count.py                   on multiprocessing
    procession run examples/word_count.py           the same program on procession
    python examples/word_count.py --compare         both, in turn, with their times

The program knows nothing of procession. Its workers share a list of files and take the
next one by a shared index; each counts on its own and adds to shared totals after every
file; at the end each sends its table to the parent through one pipe, one at a time.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import sysconfig
import time
from collections import Counter
from multiprocessing import Lock, Pipe, Process, Value
from pathlib import Path

WORD = re.compile(r"[A-Za-z]{2,}")


def find_sources(folder):
    """Every Python file below the folder, installed packages aside, largest first."""
    files = [path for path in Path(folder).rglob("*.py") if "site-packages" not in path.parts]
    return sorted(files, key=lambda path: (-path.stat().st_size, path))


def count_words(files, next_file, total_words, total_characters, results, results_lock):
    """A worker: count one file after the other until none is left."""
    table = Counter()
    while True:
        with next_file.get_lock():
            index = next_file.value
            next_file.value += 1
        if index >= len(files):
            break
        text = files[index].read_text(encoding="utf-8", errors="replace")
        words = WORD.findall(text)
        table.update(word.lower() for word in words)
        with total_words.get_lock():
            total_words.value += len(words)
        with total_characters.get_lock():
            total_characters.value += len(text)
    with results_lock:  # a pipe with several writers needs a lock
        results.send(table)


def count(folder, processes):
    """The table of all words, their number, and the number of characters read."""
    files = find_sources(folder)
    next_file, total_words, total_characters = Value("l", 0), Value("l", 0), Value("l", 0)
    receiver, sender = Pipe(duplex=False)
    results_lock = Lock()
    workers = [
        Process(
            target=count_words, args=(files, next_file, total_words, total_characters, sender, results_lock)
        )
        for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    table = Counter()
    for _ in workers:
        table += receiver.recv()
    for worker in workers:
        worker.join()
    return table, len(files), total_words.value, total_characters.value


def report(folder, processes, top):
    """Count, and print what was found."""
    began = time.perf_counter()
    table, files, words, characters = count(folder, processes)
    seconds = time.perf_counter() - began
    if words != table.total():
        sys.exit(f"the shared total says {words} words, the tables say {table.total()}")
    for word, times in table.most_common(top):
        print(f"{times:10,}  {word}")
    print(f"{words:10,}  words, {len(table):,} different, in {files:,} files of {characters:,} characters")
    print(f"{seconds:10.3f}  seconds with {processes} processes")


def run_once(command):
    """The seconds that one run says it took."""
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(output.splitlines()[-1].split()[0])


def compare(arguments, rounds):
    """Run this program on multiprocessing and on procession in turn, and print both times."""
    program = [__file__, *arguments]
    commands = {
        "multiprocessing": [sys.executable, *program],
        "procession": [sys.executable, "-m", "procession", "run", *program],
    }
    seconds = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            seconds[name].append(run_once(command))
    for name, taken in seconds.items():
        each = " ".join(f"{one:.3f}" for one in taken)
        print(f"{name:16} median {statistics.median(taken):.3f} s of {each}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", default=sysconfig.get_path("stdlib"))
    parser.add_argument("-p", "--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("-n", "--top", type=int, default=10, help="how many words to print")
    parser.add_argument(
        "--compare", action="store_true", help="run on multiprocessing and on procession in turn"
    )
    parser.add_argument("--rounds", type=int, default=5, help="how often, with --compare")
    options = parser.parse_args()
    if options.compare:
        compare([options.folder, f"-p{options.processes}", f"-n{options.top}"], options.rounds)
    else:
        report(options.folder, options.processes, options.top)


if __name__ == "__main__":
    main()
