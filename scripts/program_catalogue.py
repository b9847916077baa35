"""The programs that scripts/programs.py runs, and the folders that they work on.

A program is a command line after `python` or `procession run`, a folder that is made
anew for each run, and what differs from run to run and is taken out of its output.
"""

import email
import json
import re
import shutil
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

METHODS = ("fork", "spawn", "forkserver")
TEXTS = Path(__file__).parent / "program_texts"
DOCUMENTED = "multiprocess==0.70.19"
"""A source archive on the package index that has the examples from which the documentation's were made."""

SECONDS = [(r"\d+\.\d+ ?(s|sec|secs|seconds)\b", "SECONDS")]


@dataclass(frozen=True)
class Program:
    """One row."""

    name: str
    words: list[str]
    """After `python` or `procession run`."""
    prepare: Callable[[Path], None]
    """Makes the folder's contents."""
    options: list[str] = field(default_factory=list)
    """The interpreter's own, before all else."""
    distribution: str | None = None
    """Whose version the table tells; None for the interpreter's."""
    methods: tuple[str | None, ...] = METHODS
    """Start methods that are set for it; None: its own choice."""
    varying: list[tuple[str, str]] = field(default_factory=list)
    """Patterns in its output that vary from run to run, and what stands for them."""
    is_ordered: bool = True
    """Whether its lines come in the same order each time under python."""
    then: list[str] | None = None
    """A second command under plain python, whose output is compared too."""
    newest: tuple[int, int] = (99, 0)
    """The last Python that has it."""


# ---- folders ----------------------------------------------------------------------


def sources(folder: Path) -> None:
    """Python files of the interpreter's own library, made untidy."""
    for module in (json, email):
        source = Path(module.__file__).parent
        for path in sorted(source.glob("*.py"))[:8]:
            target = folder / "src" / f"untidy_{source.name}" / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            untidy = path.read_text().replace("    ", "   ").replace("'", '"')
            try:
                compile(untidy, str(path), "exec")
            except SyntaxError:
                untidy = path.read_text()
            target.write_text("import os, sys\n" + untidy + "\n\n\n\nx = {  'a':1,'b' :2 }\n")


def documents(folder: Path) -> None:
    """A small manual."""
    (folder / "conf.py").write_text("project = 'manual'\nextensions = ['sphinx.ext.autodoc']\n")
    names = [f"part{number:02}" for number in range(12)]
    toc = "\n".join(f"   {name}" for name in names)
    (folder / "index.rst").write_text(f"Manual\n======\n\n.. toctree::\n\n{toc}\n")
    for name in names:
        wrong = "\n:ref:`nowhere`\n" if name.endswith("3") else ""
        (folder / f"{name}.rst").write_text(
            f"{name}\n======\n\nText, *text* and ``text``; see :doc:`index`.\n\n.. py:function:: {name}()\n{wrong}"
        )


def queries(folder: Path) -> None:
    """SQL files with something to complain about."""
    for number in range(6):
        (folder / f"query{number}.sql").write_text(
            f"SELECT  a.id,b.name from orders as a\nJOIN users b on a.id=b.id WHERE a.n>{number}\n"
        )


def text(*names: str) -> Callable[[Path], None]:
    """Programs kept beside this file."""

    def copy(folder: Path) -> None:
        for name in names:
            shutil.copy(TEXTS / name, folder)

    return copy


def documented(archive: Path | None = None) -> Callable[[Path], None]:
    """The documentation's examples, for the standard library's name."""

    def unpack(folder: Path) -> None:
        (path,) = ARCHIVES.glob("multiprocess-*.tar.gz") if archive is None else [archive]
        version = f"py{sys.version_info[0]}.{sys.version_info[1]}"
        with tarfile.open(path) as tar:
            for member in tar.getmembers():
                name = Path(member.name)
                if name.match(f"{version}/examples/ex_*.py") and (file := tar.extractfile(member)):
                    words = re.sub(r"\bmultiprocess\b", "multiprocessing", file.read().decode())
                    (folder / name.name).write_text(words)

    return unpack


ARCHIVES = Path()
"""Where programs.py puts source archives."""


# ---- programs ---------------------------------------------------------------------


def program(name: str, command: str, prepare: Callable[[Path], None], **rest: object) -> Program:
    return Program(name, command.split(), prepare, **rest)  # type: ignore[arg-type]


PROGRAMS = (
    program("compileall", "-m compileall -j 2 src", sources, is_ordered=False,  # its workers' lines run into one another
            varying=[(r"\s*(?=Compiling )", "\n"), (r"\n+", "\n")]),
    program("lib2to3", "-m lib2to3 -j 2 -w -n src", sources, options=["-W", "ignore"], newest=(3, 12),
            is_ordered=False),
    program("autoflake", "-m autoflake -j 2 -i -r src", sources, distribution="autoflake", is_ordered=False),
    program("autopep8", "-m autopep8 -j 2 -i -r src", sources, distribution="autopep8", is_ordered=False),
    program("black", "-m black -W 2 src", sources, distribution="black", is_ordered=False),
    program("black --check", "-m black -W 2 --check --diff src", sources, distribution="black", is_ordered=False,
            varying=[(r"\d{4}-\d\d-\d\d \S+", "TIME")]),
    program("coverage", "-m coverage run --concurrency=multiprocessing -p counted.py", text("counted.py"),
            distribution="coverage", then=["-m", "coverage", "report", "-m"], varying=[(r"\.coverage\.\S+", "DATA")]),
    program("dask", "tasks_dask.py", text("tasks_dask.py"), distribution="dask"),
    program("flake8", "-m flake8 -j 2 src", sources, distribution="flake8"),
    program("isort", "-m isort -q -j 2 src", sources, distribution="isort", is_ordered=False),
    program("joblib", "tasks_joblib.py", text("tasks_joblib.py"), distribution="joblib"),
    program("luigi", "-m luigi --module tasks_luigi Total --local-scheduler --workers 2", text("tasks_luigi.py"),
            distribution="luigi", is_ordered=False,
            varying=[(r"\d{4}-\d\d-\d\d \S+", "TIME"), (r"pid[: ]\d+", "PID"), (r"Worker\(.*?\)", "WORKER"),
                     (r"[\w-]+_[0-9a-f]{8,}", "ID"),
                     # How often it asks its scheduler depends on how soon a worker is done.
                     (r"DEBUG: (Asking scheduler|Done|There are no more|\d+ running tasks|.* is currently run).*\n", "")]),
    program("pylint", "-m pylint -j 2 --disable=import-error src/untidy_json src/untidy_email", sources,
            distribution="pylint", varying=[(r"0x\w+", "ADDRESS")]),
    program("pytest-xdist", "-m pytest -q -n 2 -W ignore::DeprecationWarning -p no:cacheprovider test_shared.py",
            text("test_shared.py"), distribution="pytest-xdist", varying=[*SECONDS, (r"[.F]+ +\[", "DOTS")]),
    program("sphinx-build", "-m sphinx -j 2 -b dummy . out", documents, distribution="sphinx", is_ordered=False,
            varying=[(r"\[ *\d+%\].*", "PROGRESS"), (r"\x1b\[\S*", "")]),
    program("sqlfluff", "-m sqlfluff lint --dialect ansi -p 2 .", queries, distribution="sqlfluff", is_ordered=False,
            varying=SECONDS),
    program("tqdm", "tasks_tqdm.py", text("tasks_tqdm.py"), distribution="tqdm"),
    program("ufmt", "-m ufmt diff src", sources, distribution="ufmt", methods=(None,), is_ordered=False),
    program("yapf", "-m yapf -p -d -r src", sources, distribution="yapf", is_ordered=False),
    program("documentation: introduction", "introduction.py", text("introduction.py")),
    program("documentation: workers", "ex_workers.py", documented(), distribution="multiprocess", is_ordered=False,
            varying=[(r"Process-\d+", "WORKER")]),
    program("documentation: pool", "ex_pool.py", documented(), distribution="multiprocess", is_ordered=False,
            varying=[(r"\w+-\d+ says", "WORKER says"), (r"\.+(?=\n)", ""), (r"\d+\.\d+", "NUMBER"), (r"0x\w+", "ADDRESS")]),
    program("documentation: newtype", "ex_newtype.py", documented(), distribution="multiprocess"),
)  # fmt: skip
