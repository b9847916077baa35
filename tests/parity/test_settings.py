"""Settings that new interpreters obey: set_executable, set_forkserver_preload."""

import subprocess
import sys
import textwrap

import pytest


def run(folder, mp, text, *words, **options):
    """What a script of that text prints, where `mp` is the implementation."""
    path = folder / "script.py"
    path.write_text(textwrap.dedent(text).replace("MODULE", mp.__name__))
    done = subprocess.run(
        [sys.executable, path, *words], cwd=folder, capture_output=True, text=True, timeout=30, **options
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def wrapper(folder, *words):
    """An executable that marks its children's environment and becomes python."""
    path = folder / "wrapper"
    words = " ".join([f"'{sys.executable}'", *words])
    path.write_text(f'#!/bin/sh\nMARK=wrapped exec {words} "$@"\n')
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("convert", [str, bytes, lambda path: path], ids=["str", "bytes", "path"])
def test_set_executable(mp, tmp_path, method, convert):
    path = convert(wrapper(tmp_path)) if convert is not bytes else bytes(wrapper(tmp_path))
    script = f"""
        import os, pathlib, sys, MODULE as mp, MODULE.spawn as spawn
        from pathlib import PosixPath
        def tell():
            print(os.environ.get("MARK"), sys.executable, mp.get_start_method(), flush=True)
        if __name__ == "__main__":
            mp.set_start_method("{method}")
            mp.set_executable({path!r})
            print(spawn.get_executable() == os.fsencode({path!r}), os.environ.get("MARK"))
            child = mp.Process(target=tell)
            child.start(); child.join(); print(child.exitcode)
    """
    assert run(tmp_path, mp, script) == ["True None", f"wrapped {sys.executable} {method}", "0"]


def test_an_executable_that_is_not_there(mp, tmp_path):
    script = """
        import MODULE as mp
        if __name__ == "__main__":
            mp.set_start_method("spawn")
            mp.get_context("spawn").RawValue("i")
            mp.set_executable("/nowhere/python")
            child = mp.Process(target=int)
            try:
                child.start(); child.join()
                print("started", child.exitcode)  # the error is in the child, whose status tells
            except OSError as error:
                print("refused")
    """
    assert run(tmp_path, mp, script)[0] in ("refused", "started 255")


def test_modules_preloaded_by_the_server(mp, tmp_path):
    (tmp_path / "preloaded.py").write_text("import os\nos.write(1, b'loaded\\n')\n")
    script = """
        import sys, MODULE as mp
        def tell():
            print("preloaded" in sys.modules, flush=True)
        if __name__ == "__main__":
            mp.set_start_method("forkserver")
            mp.set_forkserver_preload(["no_such_module", "preloaded"])
            for _ in range(2):
                child = mp.Process(target=tell)
                child.start(); child.join()
    """
    assert run(tmp_path, mp, script) == ["loaded", "True", "True"]


@pytest.mark.parametrize("preload", [[], ["preloaded"]])
def test_each_child_runs_main_that_is_not_preloaded(mp, tmp_path, preload):
    (tmp_path / "preloaded.py").write_text("")
    script = f"""
        import os, MODULE as mp
        os.write(1, b"main " + __name__.encode() + b"\\n")
        if __name__ == "__main__":
            mp.set_start_method("forkserver")
            mp.set_forkserver_preload({preload})
            for _ in range(2):
                child = mp.Process(target=int)
                child.start(); child.join()
    """
    assert run(tmp_path, mp, script) == ["main __main__", "main __mp_main__", "main __mp_main__"]
