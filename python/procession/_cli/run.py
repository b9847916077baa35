"""Run a program as `python` would, with procession in the standard library's place.

The program gets what python gives it: a `__main__` of its own, sys.argv, the first
entry of sys.path, and at its end the exit status, the traceback and the death by
SIGINT that python gives. What ends it passes through here as an exception; our own
frames are taken off its traceback when, and only when, it is about to be printed.
"""

import atexit
import importlib.machinery
import io
import linecache
import os
import runpy
import sys
import textwrap
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import Any, NoReturn

from procession import _install
from procession._cli import report


def run(kind: str, target: str, arguments: list[str], *, is_verbose: bool) -> None:
    """Run a module (`-m`), a text (`-c`), standard input (`-`) or a file; returns, raises or exits as the program does."""
    if is_verbose:
        atexit.register(report.write, os.getpid())  # first registered, last run
    _install.install()
    sys.argv = ["-c" if kind == "-c" else target, *arguments]
    try:
        match kind:
            case "-m":
                _run_module(target)
            case "-c":
                _run_text(target)
            case "-":
                _run_standard_input()
            case _ if _is_container(target):
                _run_container(target)
            case _:
                _run_script(target)
    except SystemExit:
        raise
    except BaseException:
        _print_as_python_would()
        raise


def _new_main() -> ModuleType:
    main = ModuleType("__main__")
    names = main.__dict__
    names["__builtins__"] = sys.modules["builtins"]
    if sys.version_info < (3, 14):
        names["__annotations__"] = {}
    sys.modules["__main__"] = sys.modules["__mp_main__"] = main
    return main


def _set_first_path(entry: str) -> None:
    if not sys.flags.safe_path:
        sys.path[0] = entry


def _is_container(target: str) -> bool:
    """Whether python would look for a `__main__.py` inside: a folder, or a zip file."""
    for hook in sys.path_hooks:
        try:
            hook(target)
        except ImportError:
            continue
        return True
    return False


def _run_module(name: str) -> None:
    _new_main()
    _set_first_path(str(Path.cwd()))
    runpy._run_module_as_main(name)  # type: ignore[attr-defined]  # what python -m calls


def _run_container(name: str) -> None:
    target = str(Path(name).absolute())
    if importlib.machinery.PathFinder.find_spec("__main__", [target]) is None:
        sys.exit(f"{sys.executable}: can't find '__main__' module in {target!r}")
    _new_main()
    # A folder's entry comes first and stays, whatever the flags: python does so too.
    if sys.flags.safe_path:
        sys.path.insert(0, target)
    else:
        sys.path[0] = target
    runpy._run_module_as_main("__main__", False)  # type: ignore[attr-defined]


def _run_script(script: str) -> None:
    path = str(Path(script).absolute())  # as python has it in __file__ and in tracebacks
    source = _read(path)
    main = _new_main()
    main.__dict__.update(
        __file__=path,
        __cached__=None,
        __loader__=importlib.machinery.SourceFileLoader("__main__", path),
    )
    _set_first_path(str(Path(path).resolve().parent))
    exec(_compile(source, path), main.__dict__)  # noqa: S102  what a Python launcher is for


def _run_text(text: str) -> None:
    if sys.version_info >= (3, 14):
        text = textwrap.dedent(text)
    main = _new_main()
    main.__dict__["__loader__"] = importlib.machinery.BuiltinImporter
    _set_first_path("")
    code = _compile(text.encode(), "<string>")
    if sys.version_info >= (3, 13):  # tracebacks show the lines
        linecache.cache["<string>"] = (len(text), None, text.splitlines(keepends=True), "<string>")
    exec(code, main.__dict__)  # noqa: S102


def _run_standard_input() -> None:
    main = _new_main()
    main.__dict__.update(__file__="<stdin>", __cached__=None, __loader__=importlib.machinery.BuiltinImporter)
    _set_first_path("")
    code = _compile(sys.stdin.buffer.read(), "<stdin>")
    exec(code, main.__dict__)  # noqa: S102


def _read(path: str) -> bytes:
    try:
        with io.open_code(path) as file:
            return file.read()
    except OSError as error:
        _cannot_open(path, error)


def _compile(source: bytes, path: str) -> CodeType:
    code: CodeType = compile(source, path, "exec", dont_inherit=True)
    return code


def _cannot_open(path: str, error: OSError) -> NoReturn:
    reason = f"[Errno {error.errno}] {error.strerror}"
    sys.stderr.write(f"{sys.orig_argv[0]}: can't open file {path!r}: {reason}\n")
    sys.exit(2)


# ---- the program's last exception -------------------------------------------


def _without_our_frames(tb: TracebackType | None) -> TracebackType | None:
    """The traceback from the program's first frame on: our frames and those above them lead it."""
    at = first = tb
    while at is not None:
        if at.tb_frame.f_globals is globals():
            first = at.tb_next
        at = at.tb_next
    return first


def _print_as_python_would() -> None:
    """Let the hook that prints the last exception see it without our frames."""
    hook = sys.excepthook

    def print_stripped(kind: type[BaseException], error: BaseException, tb: TracebackType | None) -> Any:
        stripped = _without_our_frames(tb)
        return hook(kind, error.with_traceback(stripped), stripped)

    sys.excepthook = print_stripped
