"""Contexts and start methods."""

import importlib
import multiprocessing
import multiprocessing.context
import multiprocessing.process
import os
import subprocess
import sys
import textwrap

import pytest

METHODS = ["fork", "spawn", "forkserver"]


def evaluate(mp, code):
    """What a fresh interpreter prints that runs `code` with the module as `mp`."""
    script = f"import {mp.__name__} as mp\n{textwrap.dedent(code)}"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("method", METHODS)
def test_concrete_contexts(mp, method):
    ctx = mp.get_context(method)
    assert ctx is mp.get_context(method) is ctx.get_context() is ctx.get_context(method)
    assert ctx.get_start_method() == method
    with pytest.raises(ValueError, match="cannot set start method of concrete context"):
        ctx.set_start_method("fork")
    assert isinstance(ctx, multiprocessing.context.BaseContext)
    assert issubclass(ctx.Process, multiprocessing.process.BaseProcess)
    assert type(ctx).__name__ in ("ForkContext", "SpawnContext", "ForkServerContext")


@pytest.mark.parametrize("method", ["", "thread", 3, None.__class__])
def test_unknown_contexts(mp, method):
    with pytest.raises(ValueError, match="cannot find context for"):
        mp.get_context(method)
    with pytest.raises(ValueError, match="cannot find context for"):
        mp.get_context("fork").get_context(method)


def test_get_all_start_methods(mp):
    assert sorted(mp.get_all_start_methods()) == sorted(METHODS)


def test_the_start_method_is_settled_by_its_first_use(mp):
    code = """
        print(mp.get_start_method(allow_none=True))
        print(mp.get_start_method() == mp.get_all_start_methods()[0])
        print(mp.get_start_method(allow_none=True) is None)
        try:
            mp.set_start_method("spawn")
        except RuntimeError as error:
            print(error)
        mp.set_start_method("spawn", force=True)
        print(mp.get_start_method(), mp.get_context().get_start_method())
        mp.set_start_method(None, force=True)
        print(mp.get_start_method(allow_none=True))
    """
    assert evaluate(mp, code).splitlines() == [
        "None",
        "True",
        "False",
        "context has already been set",
        "spawn spawn",
        "None",
    ]


def test_the_default_process_uses_the_start_method(mp):
    code = """
        import os, sys
        def tell():
            print(mp.get_start_method(), type(mp.current_process()).__name__, flush=True)
        mp.set_start_method("fork")
        child = mp.Process(target=tell)
        child.start(); child.join()
        child = mp.get_context("fork").Process(target=tell)
        child.start(); child.join()
    """
    assert evaluate(mp, code).splitlines() == ["fork Process", "fork ForkProcess"]


def test_top_level_names(mp):
    names = [name for name in dir(multiprocessing.context._default_context) if not name.startswith("_")]
    assert set(names) <= set(mp.__all__)
    for name in mp.__all__:
        assert hasattr(mp, name)
        assert name in dir(mp)


def test_star_import(mp):
    assert (
        evaluate(mp, f"from {mp.__name__} import *; print(Lock().acquire(), cpu_count() > 0)")
        == "True True\n"
    )


@pytest.mark.parametrize("name", ["ProcessError", "TimeoutError", "BufferTooShort", "AuthenticationError"])
def test_exceptions_are_the_standard_librarys(mp, name):
    assert getattr(mp, name) is getattr(multiprocessing, name)
    assert getattr(mp.get_context("fork"), name) is getattr(multiprocessing, name)


def test_cpu_count(mp):
    assert mp.cpu_count() == mp.get_context("spawn").cpu_count() == os.cpu_count()


def test_freeze_support_does_nothing(mp):
    assert mp.freeze_support() is None


def test_unknown_names(mp):
    with pytest.raises(AttributeError, match=f"module '{mp.__name__}' has no attribute 'Lokc'"):
        mp.Lokc


SUBMODULES = [
    "connection",
    "context",
    "dummy",
    "dummy.connection",
    "forkserver",
    "heap",
    "managers",
    "pool",
    "process",
    "queues",
    "reduction",
    "resource_sharer",
    "resource_tracker",
    "shared_memory",
    "sharedctypes",
    "spawn",
    "synchronize",
    "util",
]


@pytest.mark.parametrize("name", SUBMODULES)
def test_submodules_have_the_standard_librarys_names(mp, name):
    standard = importlib.import_module(f"multiprocessing.{name}")
    module = importlib.import_module(f"{mp.__name__}.{name}")
    for public in getattr(standard, "__all__", None) or [n for n in vars(standard) if not n.startswith("_")]:
        assert hasattr(module, public), public


@pytest.mark.parametrize(
    "make", ["Condition", "Event", "Semaphore", "BoundedSemaphore", "Queue", "SimpleQueue", "Pipe"]
)
def test_objects_of_every_kind_can_be_made(mp, make):
    for ctx in (mp, mp.get_context("fork")):
        made = getattr(ctx, make)()
        for closeable in made if isinstance(made, tuple) else [made]:
            if hasattr(closeable, "close"):
                closeable.close()
