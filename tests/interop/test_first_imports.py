"""Children that import what their parent sends them have imported nothing else of it: in no order may that fail."""

import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
    import {package} as mp

    def square(x):
        return x * x

    def name_of(obj, _):
        return type(obj).__name__

    def set_one(d):
        d["one"] = 1

    def main():
        ctx = mp.get_context("{method}")
        with ctx.Pool(2) as pool:  # older than the manager
            print(pool.map(square, range(3)))
            manager = mp.Manager()
            made = [manager.dict(), manager.list(), manager.Lock(), manager.Queue(), manager.Namespace(), manager]
            print(pool.starmap(name_of, [(one, 0) for one in made]))
        process = ctx.Process(target=set_one, args=(made[0],))
        process.start()
        process.join()
        print(process.exitcode, made[0])

    if __name__ == "__main__":
        main()
"""
OUTPUT = """\
[0, 1, 4]
['DictProxy', 'ListProxy', 'AcquirerProxy', 'AutoProxy[Queue]', 'NamespaceProxy', 'SyncManager']
0 {'one': 1}
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("package", ["multiprocessing", "procession"])
def test_what_a_pool_and_a_manager_send(tmp_path, package, method):
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM).format(package=package, method=method))
    way = ["-m", "procession", "run"] if package == "multiprocessing" else []
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *way, program], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == (OUTPUT, "")
