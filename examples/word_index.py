"""Index the words of the Python standard library's source code: which files a word is in, by several processes.

    python examples/word_index.py                            prints the ten words that are in most files
    python examples/word_index.py --find mutex semaphore     where these words are

The index is one shared dict that all processes fill at once: word -> its number of files, and under the pair of a word
and a number the file. Every process may look words up while others still add some. Nothing is sent: no queue, no pipe, and
no server process.
"""

import argparse
import os
import re
import sysconfig
import time
from pathlib import Path

from procession import Process, shared

WORD = re.compile(r"[A-Za-z]{3,}")


def index_files(files: list[Path], next_file: shared.counter, index: shared.dict) -> None:
    """A worker: index one file after the other until none is left."""
    while (number := next_file.add() - 1) < len(files):
        text = files[number].read_text(encoding="utf-8", errors="replace")
        for word in {word.lower() for word in WORD.findall(text)}:
            # The sum is this process's alone, so the place is, too.
            place = index.incr(word)
            index[word, place] = str(files[number])


def build(files: list[Path], processes: int) -> shared.dict:
    """The index of these files."""
    index, next_file = shared.dict(), shared.counter()
    workers = [Process(target=index_files, args=(files, next_file, index)) for _ in range(processes)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise SystemExit("a worker has failed")
    return index


def files_with(index: shared.dict, word: str) -> list[str]:
    """The files that a word is in."""
    return sorted(index[word, place] for place in range(1, index.get(word, 0) + 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", default=sysconfig.get_path("stdlib"))
    parser.add_argument("-p", "--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("-n", "--top", type=int, default=10, help="how many words to print")
    parser.add_argument(
        "--find", nargs="+", default=[], metavar="WORD", help="print the files with these words"
    )
    options = parser.parse_args()
    files = sorted(path for path in Path(options.folder).rglob("*.py") if "site-packages" not in path.parts)
    began = time.perf_counter()
    index = build(files, options.processes)
    seconds = time.perf_counter() - began
    counts = {word: times for word, times in index.items() if isinstance(word, str)}
    if len(index) != len(counts) + sum(counts.values()):
        raise SystemExit("the index does not hold what it counts")
    for word in options.find:
        print(f"{word}: {', '.join(files_with(index, word)) or 'nowhere'}")
    for word in sorted(counts, key=lambda word: (-counts[word], word))[: options.top]:
        print(f"{counts[word]:8,}  {word}")
    print(f"{len(counts):8,}  words, {sum(counts.values()):,} places in {len(files):,} files")
    print(f"{seconds:8.2f}  seconds with {options.processes} processes")


if __name__ == "__main__":
    main()
