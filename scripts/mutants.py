"""Plants one bug at a time in a copy of the tree, and reports which of them no test finds.

    python scripts/mutants.py [TEXT ...] [--list]

The bugs are in mutants.toml; TEXT chooses those whose name contains it. Exit status 1 when one survives, or when one no
longer applies. The last line counts: a bug found is a pass.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import time
import tomllib
from typing import Any

ROOT = pathlib.Path(__file__).parents[1]
TREE = ROOT / "target" / "mutants" / "tree"
TESTS = {
    "cargo": [
        "./dev",
        "run",
        "cargo",
        "test",
        "--quiet",
        "--package",
        "procession-core",
        "--package",
        "procession-shm",
    ],
    "loom": ["./dev", "run", "scripts/loom.sh", "--quiet"],
    "unit": ["./dev", "test", "tests/unit", "tests/parity", "-x", "--timeout", "30"],
    "crash": [
        "./dev",
        "test",
        "tests/crash",
        "-k",
        "every_instruction",
        "--stride",
        "32",
        "-x",
        "--timeout",
        "120",
    ],
    "chaos": ["./dev", "run", "just", "chaos", "10"],
}
PATIENCE = 900  # seconds; a test that hangs has found the bug too


def copy_tree() -> None:
    """The tree as it is, uncommitted changes too; built things stay, so that only the mutated crate is built anew."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        source, copy = ROOT / name, TREE / name
        if source.is_file() and (not copy.exists() or copy.read_bytes() != source.read_bytes()):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, copy)


def run(test: str) -> tuple[bool, str]:
    """Whether a test passes in the copy, and the end of what it said."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("CARGO_TARGET_DIR", "VIRTUAL_ENV", "VENV")
    }
    process = subprocess.Popen(
        TESTS[test],
        cwd=TREE,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.communicate()
        return False, "it hangs"
    said = [line for line in output.splitlines() if "FAILED" in line or "panicked" in line or "error" in line]
    return process.returncode == 0, said[0] if said else f"exit status {process.returncode}"


def try_mutant(mutant: dict[str, Any]) -> str | None:
    """Which test found the bug, and how; None when none did."""
    path = TREE / mutant["file"]
    original = path.read_text()
    if original.count(mutant["find"]) != 1:
        raise LookupError(f"`find` occurs {original.count(mutant['find'])} times in {mutant['file']}")
    path.write_text(original.replace(mutant["find"], mutant["replace"]))
    try:
        for test in mutant["tests"]:
            passed, said = run(test)
            if not passed:
                return f"{test}: {said.strip()[:120]}"
    finally:
        path.write_text(original)
    return None


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("text", nargs="*", help="only the bugs whose name contains this")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    mutants = tomllib.loads(pathlib.Path(__file__).with_name("mutants.toml").read_text())["mutant"]
    mutants = [m for m in mutants if not options.text or any(text in m["name"] for text in options.text)]
    if options.list:
        print(*(mutant["name"] for mutant in mutants), sep="\n")
        return 0
    copy_tree()
    needed = sorted({test for mutant in mutants for test in mutant["tests"]})
    for test in needed:
        passed, said = run(test)
        if not passed:
            sys.exit(f"{test} fails without any bug planted: {said}")
    found = survived = 0
    for mutant in mutants:
        began = time.monotonic()
        try:
            by = try_mutant(mutant)
        except LookupError as error:
            by = None
            print(f"STALE    {mutant['name']}: {error}")
        else:
            print(
                f"{'found   ' if by else 'SURVIVED'} {mutant['name']} ({time.monotonic() - began:.0f} s) {by or ''}",
                flush=True,
            )
        found += by is not None
        survived += by is None
    print(f"{found} passed, {survived} failed")
    return int(survived > 0)


if __name__ == "__main__":
    sys.exit(main())
