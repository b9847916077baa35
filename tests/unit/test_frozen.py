"""Programs made into executables: children are the executable, started with arguments that freeze_support() understands."""

import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
    import sys
    import {module} as mp
    sys.frozen = True  # as the makers of executables have it
    sys.executable = {executable!r}

    def work(event):
        event.set()
        print("worked", mp.current_process().name, flush=True)

    if __name__ == "__main__":
        {install}
        mp.freeze_support()
        print("main", sys.argv[1:], flush=True)
        mp.set_executable(sys.executable)
        mp.set_start_method("{method}")
        for _ in range(2):
            event = mp.Event()
            child = mp.Process(target=work, args=(event,))
            child.start()
            child.join()
            print(child.exitcode, event.is_set())
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("is_installed", [False, True], ids=["imported", "installed"])
def test_an_executable(tmp_path, method, is_installed):
    executable, script = tmp_path / "program", tmp_path / "program.py"
    executable.write_text(f'#!/bin/sh\nexec {sys.executable} {script} "$@"\n')
    executable.chmod(0o755)
    module = "multiprocessing" if is_installed else "procession"
    install = "import procession; procession.install()" if is_installed else ""
    text = PROGRAM.format(module=module, executable=str(executable), method=method, install=install)
    script.write_text(textwrap.dedent(text))
    done = subprocess.run([executable, "word"], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (0, "")
    family = ["worked Process-1", "0 True", "worked Process-2", "0 True"]
    assert done.stdout.splitlines() == ["main ['word']", *family]
