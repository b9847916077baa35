"""`procession run`: what children see, print and exit with is what python's children do, under every start method."""

import os
import re
import subprocess
import sys
import tempfile
import textwrap
import zipfile

import pytest

METHODS = ["fork", "spawn", "forkserver"]
RUNNERS = [[sys.executable], [sys.executable, "-m", "procession", "run"]]

PROGRAM = """
    import multiprocessing, os, sys
    import helper

    class Item:
        def __init__(self, number):
            self.number = number

    def facts():
        main = sys.modules["__main__"]
        spec = main.__spec__
        return [
            __name__, __file__, sys.argv, sys.path[0], __package__, spec and spec.name, __spec__ and __spec__.name,
            main.__name__, main.__dict__ is globals(), sys.modules.get("__mp_main__") is main, tuple(sys.flags),
            os.getcwd(), multiprocessing.current_process().name, multiprocessing.get_start_method(), helper.fact,
        ]

    def work(connection, depth):
        connection.send((facts(), Item(depth)))
        if depth:
            child = multiprocessing.Process(target=work, args=(connection, depth - 1))
            child.start()
            child.join()
            connection.send(child.exitcode)

    def main():
        multiprocessing.set_start_method(sys.argv[1])
        print(facts())
        here, there = multiprocessing.Pipe()
        child = multiprocessing.Process(target=work, args=(there, 1))
        child.start()
        there.close()
        for _ in range(2):
            seen, item = here.recv()
            print(seen, type(item) is Item, item.number)
        print(here.recv())
        child.join()
        print(child.exitcode)
        sys.exit(child.exitcode + 3)

    if __name__ == "__main__":
        main()
"""


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(textwrap.dedent(text).lstrip("\n"))
    return path


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """The same program as a script, a module, a package, a folder and a zip file."""
    folder = tmp_path_factory.mktemp("programs")
    for home in ("", "sub/", "app/"):
        write(folder, f"{home}helper.py", "fact = 5")
    write(folder, "script.py", PROGRAM)
    write(folder, "sub/script.py", PROGRAM)
    write(folder, "package/__init__.py", "")
    write(folder, "package/__main__.py", PROGRAM)
    write(folder, "package/part.py", PROGRAM)
    write(folder, "app/__main__.py", PROGRAM)
    with zipfile.ZipFile(folder / "app.zip", "w") as archive:
        for name in ("__main__.py", "helper.py"):
            archive.write(folder / "app" / name, name)
    return folder


def run(runner, folder, *words, options=(), **how):
    """Exit status, output and errors, without addresses."""
    first, *rest = runner
    command = [first, *options, *rest, *map(str, words)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=50, **how)
    return done.returncode, scrubbed(done.stdout), scrubbed(done.stderr)


def same(folder, *words, **how):
    """Run under python and under procession; the outcome, which must be the same."""
    theirs, ours = (run(runner, folder, *words, **how) for runner in RUNNERS)
    assert ours == theirs
    return ours


def scrubbed(text):
    return re.sub(r"0x[0-9a-f]+", "0x", text).splitlines()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("words", [
    ["script.py"], ["sub/script.py"], ["-m", "script"], ["-m", "package.part"],
], ids=" ".join)  # fmt: skip
def test_what_children_see(programs, words, method):
    assert same(programs, *words, method, "-v", "two words")[0] == 3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("words", [["-m", "package"], ["app"], ["app.zip"]], ids=" ".join)
def test_main_modules_that_children_cannot_import(programs, words, method):
    """Python's new interpreters do not find their target then. Ours may, or say the same."""
    theirs, ours = (run(runner, programs, *words, method) for runner in RUNNERS)
    if method == "fork":
        assert (ours, ours[0]) == (theirs, 3)
    elif ours[0] != 3:
        assert ours[:2] == theirs[:2]
        assert ours[2][-1] == theirs[2][-1]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "options", [["-O"], ["-B", "-s"], ["-W", "error", "-X", "dev"], ["-P"], ["-u"]], ids=" ".join
)
def test_interpreters_flags(programs, options, method):
    words = ["-m", "script"] if options == ["-P"] else ["script.py"]
    environment = {**os.environ, "PYTHONPATH": str(programs)}
    assert same(programs, *words, method, options=options, env=environment)[0] == 3


@pytest.mark.parametrize("method", METHODS)
def test_a_text(programs, method):
    code = """
        import multiprocessing, os, sys
        multiprocessing.set_start_method(sys.argv[1])
        print(__name__, sys.argv, "__file__" in globals(), sys.path[0] == "")
        child = multiprocessing.Process(target=print, args=("a child",))
        child.start(); child.join(); sys.exit(child.exitcode + 2)
    """
    assert same(programs, "-c", textwrap.dedent(code), method)[:2][0] == 2


ENDINGS = {
    "exit": "sys.exit(7)",
    "exit with a text": "sys.exit('a text')",
    "leave": "os._exit(9)",
    "raise": "def fail():\n    raise LookupError('nothing')\nfail()",
    "raise from": "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    raise KeyError(1) from error",
    "group": "raise ExceptionGroup('several', [ValueError(1), KeyError(2)])",
    "interrupt": "raise KeyboardInterrupt",
    "die": "os.kill(os.getpid(), signal.SIGTERM)",
    "atexit": "atexit.register(print, 'atexit', flush=True)",
    "thread": "threading.Thread(target=lambda: 1 / 0).start()",
    "print": "print('to stdout'); print('to stderr', file=sys.stderr)",
    "warn": "warnings.warn('a warning')",
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_how_children_end(tmp_path, ending, method):
    text = f"""
import atexit, multiprocessing, os, signal, sys, threading, warnings

def work():
{textwrap.indent(ending, "    ")}

if __name__ == "__main__":
    multiprocessing.set_start_method("{method}")
    child = multiprocessing.Process(target=work, name="worker")
    child.start()
    child.join()
    print(child.exitcode, flush=True)
    work()
"""
    write(tmp_path, "script.py", text)
    # Who leaves without a word leaves the standard library's temporary folder.
    with tempfile.TemporaryDirectory() as temporary:
        same(tmp_path, "script.py", env={**os.environ, "TMPDIR": temporary})


@pytest.mark.parametrize("method", METHODS)
def test_a_main_module_that_raises_in_the_child(tmp_path, method):
    write(
        tmp_path,
        "script.py",
        f"""
        import multiprocessing
        def work():
            print("worked", flush=True)
        if __name__ == "__main__":
            multiprocessing.set_start_method("{method}")
            child = multiprocessing.Process(target=work)
            child.start()
            child.join()
            print(child.exitcode)
        else:
            raise LookupError("this module is not for children")
    """,
    )
    for first, *runner in RUNNERS:
        done = subprocess.run([first, *runner, "script.py"], cwd=tmp_path, capture_output=True, text=True)
        assert done.stdout == ("worked\n0\n" if method == "fork" else "1\n")
        assert done.stderr.count("LookupError: this module is not for children") == (method != "fork")


@pytest.mark.parametrize("method", METHODS)
def test_programs_that_go_on_from_the_standard_input(programs, method):
    """What the program does not read as its text is its own."""
    text = "import sys; print(sys.stdin.read())"
    write(programs, "reader.py", text)
    for words in (["reader.py"], ["-c", text], ["-m", "reader"]):
        assert same(programs, *words, input="a line\n")[1] == ["a line", ""]
    assert same(programs, "-", input="import sys; print(sys.argv, __file__, repr(sys.stdin.read()))")[1] == [
        "['-'] <stdin> ''"
    ]
