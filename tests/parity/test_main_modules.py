"""What a child finds of its parent's main module: script, compiled file, archive, folder or module."""

import py_compile
import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
    from __future__ import annotations  # of the program alone
    import os, sys, MODULE as mp

    NAMES = ("__name__", "__file__", "__package__", "__spec__", "__loader__", "__cached__", "__doc__")
    SEEN = [(name, str(globals().get(name)).partition(" at 0x")[0]) for name in NAMES]
    DURING = (sys.argv, sys.modules.get("__mp_main__") is not None, sys.modules["__main__"].__name__)

    class Mark:
        pass

    def tell(mark):
        main = sys.modules["__main__"]
        print(SEEN, DURING, sys.argv, type(mark).__module__)
        print(main is sys.modules["__mp_main__"], main.__dict__ is globals(), main.Mark is Mark, tell.__annotations__)
        print(sorted(set(vars(main)) - {"__builtins__"}), sys.path[0], os.getcwd(), flush=True)

    if __name__ == "__main__":
        child = mp.get_context(sys.argv[1]).Process(target=tell, args=(Mark(),))
        child.start()
        child.join()
        print(child.exitcode)
"""


def form(folder, kind, text):
    """The words after `python` that run a program of that text, kept in that form."""
    source = folder / "program.py"
    source.write_text(textwrap.dedent(text))
    match kind:
        case "script":
            return ["program.py"]
        case "no suffix":
            source.rename(folder / "program")
            return ["./program"]
        case "ipython":
            source.rename(folder / "ipython.py")
            return ["ipython.py"]
        case "compiled":
            py_compile.compile(str(source), folder / "program.pyc", dfile="program.py")
            return ["program.pyc"]
    return ["-m", "program"]


KINDS = ["script", "no suffix", "compiled", "module"]


def run(folder, kind, text, module, *words):
    place = folder / module
    place.mkdir()
    command = [sys.executable, *form(place, kind, text.replace("MODULE", module)), *words]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=30)
    return done, done.stdout.replace(str(place), "PLACE").replace(module, "MODULE")


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("kind", KINDS)
def test_main_as_a_child_finds_it(tmp_path, kind, method):
    (done, theirs), (ours_done, ours) = (
        run(tmp_path, kind, PROGRAM, module, method) for module in ("multiprocessing", "procession")
    )
    assert (done.stderr, ours_done.stderr) == ("", "")
    assert ours == theirs
    assert theirs.endswith("\n0\n")


ELSEWHERE = """
    import sys, zipfile, pathlib, MODULE as mp

    if __name__ == "__main__":
        text = "import sys\\nSEEN = (__name__, __package__, __spec__.name, sys.argv[0], sys.path[0])\\n"
        pathlib.Path("folder").mkdir()
        pathlib.Path("folder/__main__.py").write_text(text)
        with zipfile.ZipFile("archive", "w") as archive:
            archive.writestr("__main__.py", text)
        for __file__ in ("folder", "archive"):
            look = "import sys; print(sys.modules['__main__'].SEEN, sys.argv[0], sys.path[0])"
            child = mp.get_context("spawn").Process(target=exec, args=(look,))
            child.start()
            child.join()
            print(child.exitcode)
"""


def test_a_main_that_says_it_is_a_folder_or_an_archive(tmp_path):
    """Only a program that has changed its `__file__` does."""
    (done, theirs), (ours_done, ours) = (
        run(tmp_path, "script", ELSEWHERE, module) for module in ("multiprocessing", "procession")
    )
    assert (done.stderr, ours_done.stderr) == ("", "")
    assert ours == theirs
    assert theirs.count("'__mp_main__'") == 2


FAILING = """
    import sys, MODULE as mp
    if __name__ != "__main__":
        FAILURE

    if __name__ == "__main__":
        child = mp.get_context("spawn").Process(target=int)
        child.start()
        child.join()
        print(child.exitcode, sys.argv)
"""


@pytest.mark.parametrize(
    "failure", ["raise KeyError(sys.argv)", "sys.exit(7)", "raise KeyboardInterrupt", "1 +"]
)
def test_a_main_that_fails_in_the_child(tmp_path, failure):
    """Also with an error of syntax, where even the parent does not begin."""
    done, theirs = run(tmp_path, "script", FAILING.replace("FAILURE", failure), "multiprocessing")
    ours_done, ours = run(tmp_path, "script", FAILING.replace("FAILURE", failure), "procession")
    assert (ours, ours_done.returncode) == (theirs, done.returncode)
    assert ours_done.stderr.splitlines()[-1:] == done.stderr.splitlines()[-1:]


def test_the_script_that_is_never_run_again(tmp_path):
    """IPython's own, which has no guard; for its children `__main__` is the interpreter's."""
    text = """
        import sys, MODULE as mp
        print(__name__)
        mp.get_context("spawn")
        child = mp.get_context("spawn").Process(target=print, args=("begun",))
        child.start()
        child.join()
        print(child.exitcode)
    """
    (_, theirs), (_, ours) = (
        run(tmp_path, "ipython", text, module) for module in ("multiprocessing", "procession")
    )
    assert ours == theirs == "__main__\nbegun\n0\n"


ENDING = """
    import atexit, sys, MODULE as mp

    mp.current_process()

    class Last:
        def __init__(self, name):
            self.name = name

        def __del__(self):
            print("deleted", self.name, mp.current_process().name, flush=True)

    class Own(mp.get_context(sys.argv[1]).Process):
        def run(self):
            self.mine = Last("attribute")
            keep()

    def keep():
        global last
        last = Last("global")
        atexit.register(print, "exit function", flush=True)

    if __name__ == "__main__":
        for child in (mp.get_context(sys.argv[1]).Process(target=keep, name="plain"), Own(name="own")):
            child.start()
            child.join()
            print(child.exitcode, flush=True)
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_what_a_child_s_main_still_has_when_it_ends(tmp_path, method):
    (done, theirs), (ours_done, ours) = (
        run(tmp_path, "script", ENDING, module, method) for module in ("multiprocessing", "procession")
    )
    assert (done.stderr, ours_done.stderr) == ("", "")
    assert sorted(ours.splitlines()) == sorted(theirs.splitlines())
    assert method != "spawn" or theirs.count("deleted") == 3
