"""What a spawned child has not run yet looks to its program as if it had."""

import signal
import subprocess
import sys
import textwrap
from multiprocessing import process

import pytest

PROGRAM = """
    import sys
    import procession

    def untouched():
        names = sys.modules["multiprocessing.process"]._exitcode_to_name
        print(sys.modules.keys() & {"enum", "re", "typing"} or "{}", list(names.items()))

    def imported():
        import signal
        print(repr(signal.SIGTERM), signal.Signals(9).name, type(signal) is type(sys))

    def listed():
        import signal
        print(sorted(name for name in vars(signal) if name.startswith("SIG")))

    def taken_from():
        from signal import SIGUSR1
        print(repr(SIGUSR1), "SIGUSR1" in dir(sys.modules["signal"]))

    if __name__ == "__main__":
        child = procession.get_context("spawn").Process(target=globals()[sys.argv[1]], daemon=True)
        child.start()
        child.join()
        sys.exit(child.exitcode)
"""


@pytest.mark.parametrize(
    ("use", "said"),
    [
        ("untouched", f"{{}} {list(process._exitcode_to_name.items())}"),
        ("imported", f"{signal.SIGTERM!r} SIGKILL True"),
        ("listed", str(sorted(name for name in vars(signal) if name.startswith("SIG")))),
        ("taken_from", f"{signal.SIGUSR1!r} True"),
    ],
)
def test_signal(tmp_path, use, said):
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    words = [sys.executable, program, use]
    done = subprocess.run(words, capture_output=True, text=True, timeout=50)
    assert (done.stdout, done.stderr, done.returncode) == (said + "\n", "", 0)


SETTING = """
    import sys
    import procession

    def child():
        import tempfile
        import traceback
        tempfile.tempdir = "/elsewhere"
        traceback.print_exc = None
        del sys.modules["signal"].SIGUSR1
        traceback.format_exc()
        print(tempfile.gettempdir(), traceback.print_exc, hasattr(sys.modules["signal"], "SIGUSR1"))

    def interrupted():
        run = sys.modules["procession._launch.deferred"]._run.__code__
        module = sys.modules["tempfile"]
        left = calls = 0

        def profile(frame, event, _):  # a signal's handler comes after a call, as this does
            nonlocal left
            if frame.f_code is run and event == "c_return":
                left -= 1
                if left == 0:
                    raise KeyboardInterrupt

        while type(module) is not type(sys):
            calls += 1
            left = calls
            try:
                sys.setprofile(profile)
                vars(module)
            except KeyboardInterrupt:
                pass
            finally:
                sys.setprofile(None)
        print(calls > 2, module.gettempprefix())

    if __name__ == "__main__":
        child = procession.get_context("spawn").Process(target=globals()[sys.argv[1]], daemon=True)
        child.start()
        child.join()
        sys.exit(child.exitcode)
"""


@pytest.mark.parametrize(("use", "said"), [("child", "/elsewhere None False"), ("interrupted", "True tmp")])
def test_nothing_undoes_what_a_program_sets_nor_is_a_module_lost(tmp_path, use, said):
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(SETTING))
    done = subprocess.run([sys.executable, program, use], capture_output=True, text=True, timeout=50)
    assert (done.stdout, done.stderr, done.returncode) == (said + "\n", "", 0)


LAST = """
    import signal
    import subprocess
    import tempfile
    import traceback

    class Last:
        def __del__(self):
            print(repr(signal.SIGTERM), subprocess.PIPE, tempfile.gettempprefix(), end=" ")
            print(traceback.format_exception_only(ValueError(1)), flush=True)

    last = Last()
"""

ENDING = """
    import procession

    def end():
        import last

    if __name__ == "__main__":
        child = procession.get_context("spawn").Process(target=end)
        child.start()
        child.join()
"""


def test_a_module_used_for_the_first_time_when_nothing_can_be_imported_any_more(tmp_path):
    (tmp_path / "last.py").write_text(textwrap.dedent(LAST))
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(ENDING))
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=50)
    said = f"{signal.SIGTERM!r} -1 tmp ['ValueError: 1\\n']\n"
    assert (done.stdout, done.stderr, done.returncode) == (said, "", 0)


def test_a_pools_worker_loads_what_results_need_when_they_come(tmp_path):
    """Plain tasks need next to nothing; errors of the core, arrays' and tasks' errors are as ever."""
    path = tmp_path / "program.py"
    path.write_text(
        textwrap.dedent("""
            import resource, sys

            LIMITS = resource.getrlimit(resource.RLIMIT_NOFILE)

            def leave_no_descriptor():
                resource.setrlimit(resource.RLIMIT_NOFILE, (0, LIMITS[1]))
                raise LookupError("told")

            def give_back():
                resource.setrlimit(resource.RLIMIT_NOFILE, LIMITS)

            def loaded(names):
                return " ".join(name for name in names if name in sys.modules)

            def of_the_core():
                try:
                    return sys.modules["procession._native"].Memory._open((bytes(16), 1, 1))
                except Exception as error:
                    return type(error).__module__, type(error).__name__

            if __name__ == "__main__":
                import procession
                with procession.get_context("spawn").Pool(1) as pool:
                    print(repr(pool.apply(loaded, (["enum", "pickle", "re", "socket", "typing", "procession._shared"],))))
                    try:
                        pool.apply(leave_no_descriptor)
                    except LookupError as error:
                        print(error)
                    try:
                        pool.apply(list, (range(3),))
                    except OSError as error:
                        print(error.strerror)
                    pool.apply(give_back)
                    print(pool.apply(of_the_core))
                    print(pool.apply(list, (range(3),)), len(pool.apply(bytes, (1 << 20,))))
                    try:
                        pool.apply(int, ("x",))
                    except ValueError as error:
                        print(error, type(error.__cause__).__name__)
        """)
    )
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=120)
    assert (done.stdout.splitlines(), done.stderr) == (
        [
            "''",
            "told",
            "Too many open files",
            "('procession.errors', 'StaleHandleError')",
            "[0, 1, 2] 1048576",
            "invalid literal for int() with base 10: 'x' RemoteTraceback",
        ],
        "",
    )
