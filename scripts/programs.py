"""Programs that nobody here wrote, each under `python` and under `procession run`: the same output, status and files?

    python scripts/programs.py [--only GLOB]... [--json FILE]     run them with this interpreter
    python scripts/programs.py --table FILE...                    docs/programs.md out of such results

The programs come from the package registry (requirements/programs.txt) into an environment of their own. Each runs in
a folder that is made anew, at the same path, under each start method that applies; what varies from run to run (times,
pids, paths of their own) is taken out first. A last run of each notes what it used of procession.
"""

import argparse
import collections
import contextlib
import difflib
import fnmatch
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
from pathlib import Path
from typing import Any

import program_catalogue as catalogue
from program_catalogue import Program

ROOT = Path(__file__).parents[1]
HOME = ROOT / "target" / "programs"
SITE = Path(__file__).parent / "program_site"
REQUIREMENTS = ROOT / "requirements" / "programs.txt"
PATIENCE = 150.0  # seconds for one run on a busy machine
TRIES = 3
VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", metavar="GLOB")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--table", type=Path, nargs="+", metavar="FILE")
    options = parser.parse_args()
    if options.table:
        results = [json.loads(path.read_text()) for path in options.table]
        (ROOT / "docs" / "programs.md").write_text(table(results))
        return 0
    python = environment()
    catalogue.ARCHIVES = archives(python)
    rows = [examine(python, program) for program in chosen(options.only)]
    result = {"python": platform.python_version(), "system": platform.platform(), "rows": rows}
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))
    bad = sum(not outcome.startswith("same") for row in rows for outcome in row["outcomes"].values())
    print(f"{sum(len(row['outcomes']) for row in rows)} comparisons of {len(rows)} programs, {bad} differ")
    return int(bad > 0)


def chosen(globs: list[str] | None) -> list[Program]:
    programs = [program for program in catalogue.PROGRAMS if sys.version_info[:2] <= program.newest]
    if globs:
        programs = [one for one in programs if any(fnmatch.fnmatch(one.name, glob) for glob in globs)]
    return programs


# ---- the environment ------------------------------------------------------------


def environment() -> Path:
    """An interpreter that has the programs, and this checkout's procession."""
    folder = HOME / f"venv-{VERSION}"
    python, stamp = folder / "bin" / "python", folder / "requirements"
    with (ROOT / "pyproject.toml").open("rb") as file:
        ours = tomllib.load(file)["project"].get("dependencies", [])
    wanted = "\n".join([REQUIREMENTS.read_text(), *ours])
    if not stamp.exists() or stamp.read_text() != wanted:
        venv.create(folder, clear=True, with_pip=True)
        pip(python, "install", "-r", str(REQUIREMENTS), *ours)
        stamp.write_text(wanted)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "procession.pth").write_text(f"{ROOT / 'python'}\n")
    return python


def archives(python: Path) -> Path:
    """A folder with the source archives that hold programs."""
    folder = HOME / "archives"
    if not list(folder.glob("multiprocess-*.tar.gz")):
        pip(
            python,
            "download",
            "--no-deps",
            "--no-binary",
            ":all:",
            "-d",
            str(folder),
            catalogue.DOCUMENTED,
        )
    return folder


def pip(python: Path, *words: str) -> None:
    subprocess.run([python, "-m", "pip", "-q", "--disable-pip-version-check", *words], check=True)


def version_of(python: Path, program: Program) -> str:
    if program.distribution is None:
        return f"Python {platform.python_version()}"
    if catalogue.DOCUMENTED.startswith(f"{program.distribution}=="):
        return catalogue.DOCUMENTED.replace("==", " ")
    code = f"from importlib.metadata import version; print(version({program.distribution!r}))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return f"{program.distribution} {done.stdout.strip()}"


# ---- one program ------------------------------------------------------------------


def examine(python: Path, program: Program) -> dict[str, Any]:
    """Compare it under each start method; the row."""
    outcomes = {method or "its own": compare(python, program, method) for method in program.methods}
    return {
        "name": program.name,
        "command": " ".join([*program.options, *program.words]),
        "version": version_of(python, program),
        "outcomes": outcomes,
        "used": used(python, program),
    }


def compare(python: Path, program: Program, method: str | None) -> str:
    """`same`, or what differs in each of several tries: some programs differ under python from run to run."""
    for attempt in range(TRIES):
        theirs, ours = (run(python, program, words, method) for words in ([], ["-m", "procession", "run"]))
        found = difference(theirs, ours)
        if found == "same":
            found += f" at try {attempt + 1}" if attempt else ""
            break
    print(f"{program.name:<28} {method or 'its own':<11} {found}", flush=True)
    return found


def run(
    python: Path, program: Program, runner: list[str], method: str | None, trace: Path | None = None
) -> dict[str, Any]:
    """Exit status, output and files of one run."""
    with workplace() as folder:
        work = folder / "work"
        work.mkdir()
        program.prepare(work)
        before = files(work)
        settings = surroundings(folder, method, trace)
        found = {"run": execute([python, *program.options, *runner, *program.words], work, settings, program)}
        if program.distribution == "coverage":
            execute([python, "-m", "coverage", "combine"], work, settings, program)
        if program.then:
            found["then"] = execute([python, *program.then], work, surroundings(folder, None, None), program)
        found["files"] = {name: what for name, what in files(work).items() if before.get(name) != what}
        found["left"] = sorted(path.name for path in (folder / "tmp").iterdir())
        return found


@contextlib.contextmanager
def workplace() -> Any:
    """A folder that is always the same, so that paths in outputs are."""
    folder = Path(tempfile.gettempdir()) / "procession-programs"
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("home", "tmp"):
        (folder / name).mkdir(parents=True)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def surroundings(folder: Path, method: str | None, trace: Path | None) -> dict[str, str]:
    settings = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "LC_ALL": "C.UTF-8",
        "COLUMNS": "100",
        "NO_COLOR": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",  # else what a terminated worker had printed is a matter of luck
        "PYTHONPATH": str(SITE),
    }
    if method:
        settings["PROGRAMS_START_METHOD"] = method
    if trace:
        settings["PROGRAMS_TRACE"] = str(trace)
    return settings


def execute(command: list[Any], folder: Path, settings: dict[str, str], program: Program) -> dict[str, Any]:
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=settings,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        return {
            "status": f"hung after {PATIENCE:.0f} s",
            "stdout": out.splitlines(),
            "stderr": err.splitlines(),
        }
    return {
        "status": process.returncode,
        "stdout": scrubbed(out, program),
        "stderr": scrubbed(err, program),
        "left behind": session(process.pid),
    }


def session(number: int, patience: float = 3.0) -> list[str]:
    """Command lines of what still runs in a session, once what was ending has ended; they are killed."""
    give_up = time.monotonic() + patience
    while (left := dict(members(number))) and time.monotonic() < give_up:
        time.sleep(0.05)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return sorted(left.values())


def members(number: int) -> Any:
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, _, of_session = (path / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(of_session) == number and state != "Z":
                yield int(path.name), (path / "cmdline").read_text().replace("\0", " ").strip()


def scrubbed(text: str, program: Program) -> list[str]:
    for pattern, word in program.varying:
        text = re.sub(pattern, word, text)
    lines = text.splitlines()
    return lines if program.is_ordered else sorted(lines)


def files(folder: Path) -> dict[str, str]:
    """What stands in a folder; of compiled files and coverage's data, which hold times, that they are there."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            is_opaque = path.suffix in (".pyc", ".doctree", ".pickle") or path.name.startswith(".coverage")
            name = str(path.relative_to(folder))
            found[name] = "there" if is_opaque else hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def difference(theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    """`same`, or what differs, in one line each."""
    if theirs == ours:
        return "same"
    lines = []
    for part, value in theirs.items():
        if value != ours[part]:
            one, other = (json.dumps(found, indent=0).splitlines() for found in (value, ours[part]))
            changes = list(difflib.unified_diff(one, other, n=0, lineterm=""))[2:]
            lines += [f"{part}: {line}" for line in changes if not line.startswith("@@")][:6]
    return "differs: " + "; ".join(lines)


def used(python: Path, program: Program) -> dict[str, int]:
    """What it asked of procession, and how often."""
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace"
        run(python, program, ["-m", "procession", "run"], program.methods[0], trace)
        notes = trace.read_text().splitlines() if trace.exists() else []
    return dict(sorted(collections.Counter(notes).items()))


# ---- docs/programs.md ----------------------------------------------------------------

HEAD = """\
# Programs that nobody here wrote

Made by `just programs`: each program runs under `python` and under `procession run`, in a folder made anew, under each
start method that applies (set for it from outside, unless it chooses its own). Exit status, standard output and error,
the files that it leaves and the processes that outlive it are compared; times, pids and the like are taken out first,
and lines sorted where python prints them in any order. *same* means that nothing differed (*at try 2*: some programs
differ under python, too, from run to run). What a program used is counted in a last run under the first start method.

The documentation's examples are taken, at run time, from the archive of multiprocess on the package index, which has
those from which the documentation's were made; *introduction* is written here, in the shape of the documentation's
introductory examples. pytest-xdist's workers are interpreters that it starts itself: only its own process runs on
procession.
"""


def table(results: list[dict[str, Any]]) -> str:
    lines = [HEAD]
    for result in results:
        lines += [f"## Python {result['python']}, {result['system']}", ""]
        lines += ["| program | command | result | what it used of procession |", "| --- | --- | --- | --- |"]
        for row in result["rows"]:
            what = ", ".join(f"{name} {count}" for name, count in row["used"].items()) or "nothing"
            lines.append(f"| {row['version']} | `{row['command']}` | {outcome(row['outcomes'])} | {what} |")
        lines.append("")
    return "\n".join(lines)


def outcome(outcomes: dict[str, str]) -> str:
    by_words: dict[str, list[str]] = {}
    for method, found in outcomes.items():
        by_words.setdefault(found.replace("|", "\\|"), []).append(method)
    return "<br>".join(f"{words} ({', '.join(methods)})" for words, methods in by_words.items())


if __name__ == "__main__":
    sys.exit(main())
