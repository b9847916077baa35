"""Functions and classes of the main program that a pool's workers do not have: they travel by value."""

import subprocess
import sys
import textwrap

import pytest


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
