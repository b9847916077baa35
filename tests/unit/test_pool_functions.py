"""Functions and classes of the main program that a pool's workers do not have: they travel by value."""

import subprocess
import sys
import textwrap

import pytest

import procession


def output(*arguments):
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=50)
    assert done.stderr == ""
    return done.stdout


LATE = """
    import procession as mp

    if __name__ == "__main__":
        with mp.get_context("METHOD").Pool(1) as pool, mp.ProcessPoolExecutor(1) as executor:
            pool.map(abs, [1]), executor.submit(abs, 1).result()

            def late(x, y=0):
                return x + y

            class Late:
                def __str__(self):
                    return "late"

            print(pool.map(late, [1]), pool.starmap(late, [(1, 2)]), pool.apply(late, (1, 2)))
            print(pool.map(str, [Late()]), pool.apply(str, (Late(),)), executor.submit(late, 1).result())
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_made_after_the_workers(tmp_path, method):
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(LATE).replace("METHOD", method))
    assert output("-W", "ignore::DeprecationWarning", program) == "[1] [3] 3\n['late'] late 1\n"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_of_a_program_that_is_no_file(method):
    program = f"""
import procession as mp
with mp.get_context("{method}").Pool(1) as pool:
    pool.map(abs, [1])
    def late(x):
        return x + 1
    print(pool.map(late, [1]), pool.apply(late, (1,)))
"""
    assert output("-c", program) == "[2] 2\n"


STATEFUL = """
import procession as mp

state = None

class Box:
    pass

def prepare(value):
    global state
    state = value

def look(box):
    return state, isinstance(box, Box)

if __name__ == "__main__":
    def prepare_more(value):
        global more
        more = value

    def look_at_more(_):
        return more

    fork = mp.get_context("fork")
    with fork.Pool(1, prepare, (5,)) as pool, mp.ProcessPoolExecutor(1, fork, prepare, (6,)) as executor:
        print(pool.map(look, [Box()]), pool.apply(look, (Box(),)), executor.submit(look, Box()).result())
    with fork.Pool(1, prepare_more, (7,)) as pool:
        print(pool.map(look_at_more, [0]), pool.apply(look_at_more, (0,)))

        def look_at_more(_):
            return "made again"

        print(pool.map(look_at_more, [0]))
"""


@pytest.mark.parametrize("kind", ["file", "-c", "folder", "standard input"])
def test_forked_workers_have_the_main_module_with_its_state(tmp_path, kind):
    """What an initializer has set there, tasks find, as with the standard library; what was made later goes by value."""
    program = tmp_path / "__main__.py"
    program.write_text(STATEFUL)
    words = {"file": [program], "-c": ["-c", STATEFUL], "folder": [tmp_path], "standard input": ["-"]}[kind]
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", *words],
        input=STATEFUL, capture_output=True, text=True, timeout=50,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["[(5, True)] (5, True) (6, True)", "[7] 7", "['made again']"]


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("kind", ["folder", "standard input"])
def test_a_program_that_workers_cannot_import(tmp_path, kind, method):
    program = f"""
import procession as mp

def double(x):
    return 2 * x

if __name__ == "__main__":
    ctx = mp.get_context("{method}")
    with ctx.Pool(1) as pool:
        print(pool.map(double, [1, 2]), pool.apply(double, (3,)))
    child = ctx.Process(target=double, args=(1,))
    child.start()
    child.join()
    print(child.exitcode)
"""
    (tmp_path / "__main__.py").write_text(program)
    done = subprocess.run(
        [sys.executable, tmp_path if kind == "folder" else "-"],
        input=program, capture_output=True, text=True, timeout=50,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("[2, 4] 6\n0\n", "")


def test_what_no_worker_could_run_is_refused_at_once():
    with procession.get_context("fork").Pool(1) as pool:
        for call in (pool.apply, pool.apply_async):
            with pytest.raises(TypeError, match="^3 is not callable$"):
                call(3)
        for name in ("map", "map_async", "starmap", "starmap_async", "imap", "imap_unordered"):
            with pytest.raises(TypeError, match="^3 is not callable$"):
                getattr(pool, name)(3, [])
            for chunksize in (0, -1):
                with pytest.raises(ValueError, match=rf"^Chunksize must be 1\+, not {chunksize}$"):
                    getattr(pool, name)(abs, [1], chunksize=chunksize)
