"""Plants bugs, one at a time, and demands that a test notices.

    python scripts/mutants.py [--list | --check] [--only NAME ...] [--gate]

scripts/mutants.toml says which text becomes which, and whose tests must turn red. The crates are copied, so the working
tree is never touched, and built in a folder of their own, so the second run is faster. Exit status 1 when a planted bug
survived, a patch no longer applies, or a mutant does not build.
"""

import argparse
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "mutants"
TREE = TARGET / "tree"
COPIED = ["crates", "Cargo.toml", "Cargo.lock"]
TIMEOUT = 100.0  # seconds; a mutant that hangs is noticed as well
GATE_BUDGET = 270.0  # seconds; the rest of --gate is skipped, and said to be

LOOM = {
    "RUSTFLAGS": "--cfg loom",
    "LOOM_MAX_PREEMPTIONS": "2",
    "CARGO_PROFILE_RELEASE_LTO": "off",
    "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16",
}


@dataclass(frozen=True)
class Mutant:
    """One planted bug."""

    name: str
    tests: list[str]
    """Words of `command`, each a test binary; the first red one ends the trial."""
    edits: list[dict[str, str]]
    gate: bool
    survives: str
    """Why it may survive; empty when it must not."""


def command(tests: str) -> tuple[list[str], dict[str, str]]:
    """The cargo arguments and environment behind a word of the list: `loom_lock`, `crash single`, `survey NAME`."""
    binary, *rest = tests.split()
    if binary.startswith("loom_"):
        return ["--release", "--test", binary, "--", *rest], LOOM | {"CARGO_TARGET_DIR": str(TARGET / "loom")}
    features = ["--features", "crash-points"] if binary in ("crash", "container_crash") else []
    return [*features, "--test", binary, "--", *rest], {"CARGO_TARGET_DIR": str(TARGET / "plain")}


def cargo(arguments: list[str], extra: dict[str, str], timeout: float) -> tuple[int | None, str]:
    """Exit status (None: it hung) and output of one `cargo test`, whose whole process group ends with it."""
    full = ["cargo", "test", "--quiet", "--package", "procession-core", *arguments]
    child = subprocess.Popen(
        full,
        cwd=TREE,
        env=os.environ | {"RUST_BACKTRACE": "0"} | extra,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = child.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        return None, ""
    return child.returncode, output


def copy_tree() -> None:
    """Brings the copy up to date, leaving unchanged files and their times alone."""
    TREE.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        source = ROOT / name
        files = [source] if source.is_file() else [path for path in source.rglob("*") if path.is_file()]
        wanted = {path.relative_to(ROOT) for path in files}
        for path in wanted:
            target = TREE / path
            content = (ROOT / path).read_bytes()
            if not target.exists() or target.read_bytes() != content:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
        if source.is_dir():
            for stale in [path for path in (TREE / name).rglob("*") if path.is_file()]:
                if stale.relative_to(TREE) not in wanted:
                    stale.unlink()


def patched(mutant: Mutant, tree: pathlib.Path) -> tuple[dict[pathlib.Path, str], str]:
    """What its files would say, and what is wrong with the patch, or nothing."""
    texts: dict[pathlib.Path, str] = {}
    for edit in mutant.edits:
        path = tree / "crates" / edit["file"]
        text = texts.get(path) or path.read_text()
        if text.count(edit["from"]) != 1:
            first = edit["from"].strip().splitlines()[0]
            return {}, f"{edit['file']}: found {text.count(edit['from'])} times: {first!r}"
        texts[path] = text.replace(edit["from"], edit["to"])
    return texts, ""


def plant(mutant: Mutant) -> str:
    """Edits the copy; what is wrong with the patch, or nothing."""
    texts, wrong = patched(mutant, TREE)
    for path, text in texts.items():
        path.write_text(text)
    return wrong


def check(mutants: list[Mutant]) -> int:
    """Says which patches no longer apply to the working tree; the exit status. Builds nothing."""
    wrong = [(mutant.name, why) for mutant in mutants if (why := patched(mutant, ROOT)[1])]
    for name, why in wrong:
        print(f"{name}: {why}", file=sys.stderr)
    return 1 if wrong else 0


def trial(mutant: Mutant) -> tuple[str, str]:
    """`killed`, `survived` or `broken`, and by whom or why."""
    copy_tree()
    if wrong := plant(mutant):
        return "broken", wrong
    for tests in mutant.tests:
        arguments, extra = command(tests)
        build = arguments[: arguments.index("--")]
        status, output = cargo([*build, "--no-run"], extra, timeout=600)
        if status != 0:
            return "broken", "does not build\n" + output[-2000:]
        status, output = cargo(arguments, extra, TIMEOUT)
        if status is None:
            return "killed", f"{tests} (it hung)"
        if status != 0:
            return "killed", tests
    return "survived", ", ".join(mutant.tests)


def is_green(tests: str) -> bool:
    arguments, extra = command(tests)
    return cargo(arguments, extra, timeout=600)[0] == 0


def read_list() -> list[Mutant]:
    listed = tomllib.loads((ROOT / "scripts" / "mutants.toml").read_text())["mutant"]
    for one in listed:
        if stray := {key for edit in one["edits"] for key in edit} - {"file", "from", "to"}:
            sys.exit(
                f"{one['name']}: an edit has {', '.join(sorted(stray))}: [[mutant]] is missing behind it"
            )
    return [
        Mutant(one["name"], one["tests"], one["edits"], one.get("gate", False), one.get("survives", ""))
        for one in listed
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--list", action="store_true", help="names only")
    parser.add_argument("--check", action="store_true", help="only whether each patch applies")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these mutants")
    parser.add_argument(
        "--gate", action="store_true", help="a subset, within five minutes on a warm target folder"
    )
    options = parser.parse_args()
    mutants = read_list()
    if options.only:
        mutants = [mutant for mutant in mutants if mutant.name in options.only]
    elif options.gate:
        mutants = [mutant for mutant in mutants if mutant.gate]
    if options.list:
        print(*(mutant.name for mutant in mutants), sep="\n")
        return 0
    if options.check:
        return check(mutants)
    if not mutants:
        print("no such mutant", file=sys.stderr)
        return 2
    copy_tree()
    if red := [
        tests
        for tests in sorted({word for mutant in mutants for word in mutant.tests})
        if not is_green(tests)
    ]:
        print("red without any mutant: " + ", ".join(red), file=sys.stderr)
        return 1
    started = time.monotonic()
    killed = bad = skipped = 0
    for mutant in mutants:
        if options.gate and time.monotonic() - started > GATE_BUDGET:
            skipped += 1
            print(f"{mutant.name:<40} skipped: out of time", flush=True)
            continue
        began = time.monotonic()
        outcome, why = trial(mutant)
        if outcome == "survived" and mutant.survives:
            outcome, why = "survived as explained", mutant.survives
            skipped += 1
        elif outcome == "killed":
            killed += 1
        else:
            bad += 1
        print(f"{mutant.name:<40} {outcome}: {why} ({time.monotonic() - began:.0f} s)", flush=True)
    print(f"mutants: {killed} passed, {bad} failed, {skipped} skipped")
    return 1 if bad else 0


if __name__ == "__main__":
    if not shutil.which("cargo"):
        sys.exit("cargo is not installed")
    sys.exit(main())
