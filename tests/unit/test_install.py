"""install() and uninstall(), in interpreters of their own."""

import subprocess
import sys
import textwrap

import pytest


def evaluate(code):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_names_become_ours_and_go_back():
    assert evaluate("""
        import multiprocessing, multiprocessing.pool, procession
        from multiprocessing import Lock as earlier
        def facts():
            from multiprocessing import Lock, Process, Value, get_context
            from multiprocessing.synchronize import RLock
            from multiprocessing.sharedctypes import Value as TypedValue
            ctx = get_context("fork")
            made = [Lock(), RLock(ctx=ctx), Value("i"), TypedValue("i"), ctx.Lock(), ctx.Process(), Process()]
            made += [ctx, multiprocessing.context.ForkProcess(), multiprocessing.context._default_context]
            made += [multiprocessing.pool.get_context()]
            return {type(one).__module__.partition(".")[0] for one in made}
        print(facts())
        procession.install()
        procession.install()
        print(facts(), type(earlier()).__module__)
        import multiprocessing.managers
        procession.uninstall()
        print(facts(), multiprocessing.managers.get_context is multiprocessing.get_context)
        procession.uninstall()
        procession.install()
        print(facts())
    """) == [
        "{'multiprocessing'}",
        "{'procession'} procession.synchronize",
        "{'multiprocessing'} True",
        "{'procession'}",
    ]


def test_every_name_is_put_back():
    assert evaluate("""
        import multiprocessing as m, multiprocessing.context
        import multiprocessing.synchronize, multiprocessing.sharedctypes
        import multiprocessing.heap, multiprocessing.spawn, multiprocessing.managers, multiprocessing.pool
        import multiprocessing.popen_fork, multiprocessing.resource_sharer, procession
        modules = [m, m.context, m.synchronize, m.sharedctypes, m.heap, m.spawn, m.managers, m.pool]
        before = [dict(vars(module)) for module in modules]
        procession.install()
        changed = sum(vars(module) != old for module, old in zip(modules, before))
        procession.uninstall()
        print(changed, [vars(module) == old for module, old in zip(modules, before)].count(True))
    """) == ["8 8"]


@pytest.mark.parametrize("imported_first", [True, False])
def test_pools_of_threads_are_the_standard_librarys(imported_first):
    assert (
        evaluate(f"""
        import procession
        if {imported_first}:
            import multiprocessing.pool
        procession.install()
        import multiprocessing.dummy
        from multiprocessing.pool import ThreadPool
        with ThreadPool(2) as pool:
            print(pool.map(str, [1, 2]))
        with multiprocessing.dummy.Pool(2) as pool:
            print(pool.map(str, [1, 2]))
    """)
        == ["['1', '2']"] * 2
    )


def test_the_packages_modules_are_attributes_of_it_as_they_would_be():
    assert evaluate("""
        import multiprocessing, procession
        procession.install()
        q = multiprocessing.Queue()
        print(isinstance(q, multiprocessing.queues.Queue), multiprocessing.synchronize.Lock.__module__)
        procession.uninstall()
        print(hasattr(multiprocessing, "no such thing"), "__getattr__" in vars(multiprocessing))
    """) == ["True procession.synchronize", "False False"]


def test_a_start_method_that_was_set_stays():
    assert evaluate("""
        import multiprocessing, procession
        multiprocessing.set_start_method("spawn")
        procession.install()
        print(multiprocessing.get_start_method(), procession.get_start_method())
    """) == ["spawn spawn"]


def test_libraries_that_use_multiprocessing_get_ours():
    assert evaluate("""
        import procession
        procession.install()
        import concurrent.futures, multiprocessing.pool
        def module_of_process():
            import multiprocessing
            return type(multiprocessing.current_process()).__module__
        with concurrent.futures.ProcessPoolExecutor(1) as executor:
            print(executor.submit(module_of_process).result())
        with multiprocessing.pool.Pool(1) as pool:
            print(pool.apply(module_of_process))
    """) == ["procession.context", "procession.context"]


@pytest.mark.parametrize("first", ["multiprocessing", "procession"])
@pytest.mark.parametrize(("module", "name"), [
    ("pool", "Pool"), ("managers", "SyncManager"), ("synchronize", "Lock"),
    ("sharedctypes", "Value"), ("heap", "BufferWrapper"),
])  # fmt: skip
def test_modules_imported_later(module, name, first):
    assert evaluate(f"""
        import importlib, sys, procession
        procession.install()
        print("multiprocessing.{module}" in sys.modules)
        importlib.import_module("{first}.{module}")
        standard, ours = (importlib.import_module(package + ".{module}") for package in ("multiprocessing", "procession"))
        print(standard.{name} is ours.{name}, standard is ours)
        importlib.reload(standard)
        procession.uninstall()
        print(standard.{name} is ours.{name}, standard.{name}.__module__)
    """) == ["False", "True False", f"False multiprocessing.{module}"]


def test_a_star_import_gets_ours():
    assert evaluate("""
        import procession
        procession.install()
        from multiprocessing import *
        from multiprocessing.synchronize import *
        print(type(Lock()).__module__, Process.__module__, TimeoutError.__module__)
    """) == ["procession.synchronize procession.context multiprocessing.context"]


def test_the_choice_of_a_start_method_outlives_both():
    assert evaluate("""
        import multiprocessing, procession
        procession.install()
        multiprocessing.set_start_method("spawn")
        procession.uninstall()
        print(multiprocessing.get_start_method(), procession.get_start_method())
        try:
            multiprocessing.set_start_method("fork")
        except RuntimeError as error:
            print(error)
    """) == ["spawn spawn", "context has already been set"]


CHILDREN = """
    import multiprocessing, sys
    import procession, procession._install
    from multiprocessing import Lock as Earlier
    where = Earlier.__self__.__class__.__module__  # in a child: found while the main module is imported
    def tell(depth):
        print(multiprocessing.current_process().name.count(":"), where, procession._install.is_installed(), flush=True)
        if depth:
            child = multiprocessing.Process(target=tell, args=(depth - 1,))
            child.start(); child.join()
    if __name__ == "__main__":
        multiprocessing.set_start_method("{method}")
        procession.install()
        for _ in range(2):
            child = multiprocessing.Process(target=tell, args=(1,))
            child.start(); child.join(); print(child.exitcode)
        procession.uninstall()
        child = multiprocessing.Process(target=tell, args=(0,))
        child.start(); child.join(); print(child.exitcode)
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_have_it_before_their_main_module(tmp_path, method):
    (tmp_path / "script.py").write_text(textwrap.dedent(CHILDREN.replace("{method}", method)))
    done = subprocess.run([sys.executable, tmp_path / "script.py"], capture_output=True, text=True)
    assert done.stderr == ""
    ours = (
        "multiprocessing.context" if method == "fork" else "procession.context"
    )  # a fork imports nothing again
    family = [f"0 {ours} True", f"1 {ours} True", "0"]
    assert done.stdout.splitlines() == [*family, *family, "0 multiprocessing.context False", "0"]
