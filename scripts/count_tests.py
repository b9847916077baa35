"""Sums what the runners said about their tests, a line for each log and one for all: `N passed, N failed, N skipped`.

Understands pytest, `cargo test` and this repository's plain closing line. Exit status 1 when a runner counted a failure
or when nothing ran at all.
"""

import pathlib
import re
import sys

PYTEST = re.compile(
    r"(?m)^(?:=+ )?((?:\d+ (?:passed|failed|error|errors|skipped|xfailed|xpassed|deselected|warnings?)(?:, )?)+) in [\d.]+s"
)
CARGO = re.compile(r"(?m)^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored")
PLAIN = re.compile(r"(?m)^(?:\w+: )?(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$")

Count = tuple[int, int, int]


def count(log: str) -> Count:
    passed = failed = skipped = 0
    for match in PYTEST.finditer(log):
        words = {word: int(number) for number, word in re.findall(r"(\d+) (\w+)", match[1])}
        passed += words.get("passed", 0) + words.get("xfailed", 0)
        failed += (
            words.get("failed", 0) + words.get("error", 0) + words.get("errors", 0) + words.get("xpassed", 0)
        )
        skipped += words.get("skipped", 0)
    for pattern in (CARGO, PLAIN):
        for match in pattern.finditer(log):
            passed += int(match[1])
            failed += int(match[2])
            skipped += int(match[3] or 0)
    return passed, failed, skipped


def main(paths: list[str]) -> int:
    total: Count = (0, 0, 0)
    for path in map(pathlib.Path, paths):
        counted = count(path.read_text(errors="replace"))
        if any(counted):
            print(f"{path.stem:<14} {counted[0]:>5} passed {counted[1]:>3} failed {counted[2]:>3} skipped")
        total = (total[0] + counted[0], total[1] + counted[1], total[2] + counted[2])
    print(f"{total[0]} passed, {total[1]} failed, {total[2]} skipped")
    return int(total[1] > 0 or total[0] == 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
