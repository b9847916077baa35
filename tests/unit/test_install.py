"""install() and uninstall(), in interpreters of their own."""

import subprocess
import sys
import textwrap


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
        import multiprocessing.popen_fork, procession
        modules = [m, m.context, m.synchronize, m.sharedctypes, m.heap, m.spawn, m.managers, m.pool]
        before = [dict(vars(module)) for module in modules]
        procession.install()
        changed = sum(vars(module) != old for module, old in zip(modules, before))
        procession.uninstall()
        print(changed, [vars(module) == old for module, old in zip(modules, before)].count(True))
    """) == ["8 8"]


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
