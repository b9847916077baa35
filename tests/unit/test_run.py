"""`procession run`: a program runs as under python, and on procession."""

import os
import signal
import subprocess
import sys
import textwrap
import zipfile

import pytest

RUNNERS = {
    "python": [sys.executable],
    "procession run": [os.path.join(os.path.dirname(sys.executable), "procession"), "run"],
    "python -m procession run": [sys.executable, "-m", "procession", "run"],
}
OURS = [name for name in RUNNERS if "procession" in name]


def run(runner, *words, cwd, **options):
    options = {"capture_output": True, "text": True, **options}
    return subprocess.run([*RUNNERS[runner], *map(str, words)], cwd=cwd, check=False, **options)


@pytest.fixture
def folder(tmp_path):
    return tmp_path


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(textwrap.dedent(text).lstrip("\n"))
    return path


def same(folder, *words, runner, **options):
    """Run under python and under ours; both outcomes, which must be equal."""
    theirs, ours = (run(name, *words, cwd=folder, **options) for name in ("python", runner))
    assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr)
    return ours


@pytest.fixture(params=OURS)
def runner(request):
    return request.param


def test_what_a_script_sees(folder, runner):
    write(
        folder,
        "sub/script.py",
        """
        import sys
        print(__name__, __file__, __package__, __spec__, __doc__, __builtins__, sys.argv, sys.path[0])
        print(sys.modules["__main__"].__dict__ is globals(), sorted(globals()), type(__loader__).__name__)
    """,
    )
    same(folder, "sub/script.py", "-v", "a b", "--", runner=runner)
    same(folder, folder / "sub" / "script.py", runner=runner)


def test_what_a_module_sees(folder, runner):
    write(folder, "package/__init__.py", "")
    write(
        folder,
        "package/part.py",
        """
        import sys
        from . import other
        print(__name__, __file__, __package__, __spec__.name, sys.argv, sys.path[0], other.fact)
    """,
    )
    write(folder, "package/other.py", "fact = 3")
    write(folder, "package/__main__.py", "import sys; print('main of', __package__, sys.argv)")
    same(folder, "-m", "package.part", "x", "-y", runner=runner)
    same(folder, "-m", "package", runner=runner)


def test_a_folder_and_a_zip_file(folder, runner):
    write(
        folder, "app/__main__.py", "import sys, helper; print(__name__, sys.argv, sys.path[0], helper.fact)"
    )
    write(folder, "app/helper.py", "fact = 5")
    with zipfile.ZipFile(folder / "app.zip", "w") as archive:
        archive.write(folder / "app" / "__main__.py", "__main__.py")
        archive.write(folder / "app" / "helper.py", "helper.py")
    same(folder, "app", "x", runner=runner)
    same(folder, "app.zip", runner=runner)


@pytest.mark.parametrize("ending", [
    "sys.exit()", "sys.exit(0)", "sys.exit(3)", "sys.exit('a text')", "sys.exit(True)", "os._exit(4)",
    "raise SystemExit(300)", "raise LookupError('nothing')", "raise KeyboardInterrupt", "1/0",
    "raise BaseException",
    "os.kill(os.getpid(), 15)",
    "def f(): raise ValueError(1)\ntry: f()\nexcept ValueError as e: raise KeyError(2) from e",
    "sys.excepthook = lambda *a: print('hook', a[0].__name__, a[2].tb_frame.f_code.co_name); oops",
    "import atexit; atexit.register(print, 'atexit'); oops",
    "import threading; threading.Thread(target=print, args=('thread',)).start(); oops",
    "x = (", "raise ExceptionGroup('g', [ValueError(1)])",
])  # fmt: skip
def test_how_a_program_ends(folder, runner, ending):
    write(folder, "script.py", f"import os, sys\n{ending}\n")
    same(folder, "script.py", runner=runner)
    if runner == OURS[0]:
        same(folder, "-m", "script", runner=runner)


@pytest.mark.parametrize("words", [["nothing.py"], ["-m", "no_such_module"], ["empty"], ["-m", "empty"]])
def test_what_is_not_there(folder, runner, words):
    (folder / "empty").mkdir()
    theirs, ours = (run(name, *words, cwd=folder) for name in ("python", runner))
    assert (ours.returncode, ours.stdout) == (theirs.returncode, "")
    assert ours.stderr.partition(": ")[2] == theirs.stderr.partition(": ")[2]


def test_ctrl_c(folder, runner):
    write(
        folder,
        "script.py",
        """
        import os, signal, time
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)
    """,
    )
    done = same(folder, "script.py", runner=runner)
    assert done.returncode == -signal.SIGINT


PROGRAM = """
    import multiprocessing, sys
    from multiprocessing import Lock, Process, Queue, Value
    from multiprocessing.synchronize import RLock

    class Item:
        pass

    def work(lock, value, queue):
        with lock:
            value.value += 1
        queue.put((type(lock).__module__, type(multiprocessing.Lock()).__module__, __name__, Item()))

    if __name__ == "__main__":
        multiprocessing.set_start_method(sys.argv[1])
        lock, value, queue = Lock(), Value("i", 0), Queue()
        children = [Process(target=work, args=(lock, value, queue)) for _ in range(2)]
        for child in children:
            child.start()
        for _ in children:
            *facts, item = queue.get()
            print(facts, type(item) is Item)
        for child in children:
            child.join()
            print(child.exitcode)
        print(value.value, type(RLock(ctx=multiprocessing.get_context())).__module__)
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_run_on_procession_too(folder, runner, method):
    write(folder, "program.py", PROGRAM)
    done = run(runner, "program.py", method, cwd=folder)
    main = "__main__" if method == "fork" else "__mp_main__"
    line = f"['procession.synchronize', 'procession.synchronize', '{main}'] True"
    assert done.stderr == ""
    assert done.stdout.splitlines() == [line, line, "0", "0", "2 procession.synchronize"]


def test_verbose(folder, runner):
    write(folder, "program.py", "import multiprocessing; d = multiprocessing.Manager().dict(); print(d)")
    done = run(runner, "-v", "program.py", cwd=folder)
    assert done.stdout == "{}\n"
    assert "procession: 2 shared objects of procession's at the end" in done.stderr
    write(folder, "plain.py", "print(1)")
    done = run(runner, "-v", "plain.py", cwd=folder)
    assert (done.stdout, done.returncode) == ("1\n", 0)
    assert "procession: no shared object of procession's and no process was made" in done.stderr


@pytest.mark.parametrize("words", [["run"], ["run", "-m"], ["run", "-x", "a.py"], ["walk", "a.py"]])
def test_usage_errors(folder, words):
    done = subprocess.run(
        [sys.executable, "-m", "procession", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("procession: ")
    assert "usage: procession run" in done.stderr


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"], ["run", "--help"], ["--version"]])
def test_help(folder, words):
    done = subprocess.run(
        [sys.executable, "-m", "procession", *words], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(("usage: ", "procession "))


def test_the_example(folder, runner):
    """The word count finds the same words on both."""
    import pathlib

    example = pathlib.Path(__file__).parents[2] / "examples" / "word_count.py"
    source = pathlib.Path(os.__file__).parent / "email"
    outputs = [run(name, example, source, cwd=folder) for name in ("python", runner)]
    theirs, ours = (done.stdout.splitlines()[:-1] for done in outputs)
    assert ours == theirs
    assert len(ours) == 11
    assert outputs[1].stderr == ""
