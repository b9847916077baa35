"""What was imported or made before install() stays the standard library's, and works together with ours."""

import subprocess
import sys
import textwrap

import pytest

METHODS = ["fork", "spawn", "forkserver"]


def run(folder, text, **words):
    """What a program of that text prints; `METHOD` and the like stand for words."""
    for word, value in words.items():
        text = text.replace(word.upper(), value)
    path = folder / "program.py"
    path.write_text(textwrap.dedent(text).lstrip("\n"))
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=50)
    assert done.stderr == ""
    return done.stdout.splitlines()


EARLIER = """
    import multiprocessing, multiprocessing.queues, procession

    def module(thing):
        return type(thing).__module__.partition(".")[0]

    def work(objects):
        queue, joinable, simple, lock, condition, event, barrier, value, array, receiver = objects
        with lock, condition:
            value.value += 1
            array[0] += 2
        event.set()
        # A value or array goes on under our face, over their memory and lock.
        print({module(thing) for thing in objects[:7] + objects[9:]}, module(multiprocessing.Lock()), flush=True)
        barrier.wait(20)
        simple.put(receiver.recv())
        queue.put(joinable.get())
        joinable.task_done()

    def main():
        multiprocessing.set_start_method("METHOD")
        m = multiprocessing
        receiver, sender = m.Pipe(False)
        objects = [
            m.Queue(), m.JoinableQueue(), m.SimpleQueue(), m.Lock(), m.Condition(), m.Event(), m.Barrier(2),
            m.Value("i", 1), m.Array("i", 3), receiver,
        ]
        process = m.Process(target=work, args=(objects,))
        procession.install()
        for child in (process, m.Process(target=work, args=(objects,))):
            print(module(child))
            child.start()
            sender.send("pipe")
            objects[1].put("joinable")
            objects[6].wait(20)
            print(objects[0].get(), objects[2].get(), objects[5].is_set(), objects[7].value, objects[8][:])
            child.join()
            print(child.exitcode)
            objects[1].join()
        for queue in objects[:2]:
            queue.close(); queue.join_thread()

    if __name__ == "__main__":
        main()
"""


@pytest.mark.parametrize("method", METHODS)
def test_objects_made_before(tmp_path, method):
    assert run(tmp_path, EARLIER, method=method) == [
        "multiprocessing", "{'multiprocessing'} procession", "joinable pipe True 2 [2, 0, 0]", "0",
        "procession", "{'multiprocessing'} procession", "joinable pipe True 3 [4, 0, 0]", "0",
    ]  # fmt: skip


NAMES = """
    import multiprocessing, procession
    from multiprocessing import Pool, Process, Queue, Lock, get_context
    from multiprocessing.pool import Pool as PoolClass
    from multiprocessing.synchronize import Lock as LockClass
    from concurrent.futures import ProcessPoolExecutor

    def square(x):
        return x * x

    def add(lock, queue, x):
        with lock:
            queue.put(x)

    if __name__ == "__main__":
        multiprocessing.set_start_method("METHOD")
        procession.install()
        lock, queue = LockClass(ctx=get_context()), Queue()
        print(type(lock).__module__, Process.__module__, isinstance(Lock(), procession.synchronize.Lock))
        children = [Process(target=add, args=(lock, queue, x)) for x in range(3)]
        for child in children:
            child.start()
        print(sorted(queue.get() for _ in children), [child.join() or child.exitcode for child in children])
        with Pool(2) as pool:
            print(pool.map(square, range(4)))
        with PoolClass(2) as pool:
            print(pool.map(square, range(4)), isinstance(pool, multiprocessing.pool.Pool))
            pool.close()
            pool.join()
        with ProcessPoolExecutor(2) as executor:
            print(list(executor.map(square, range(4))))
        queue.close()
        queue.join_thread()
"""


@pytest.mark.parametrize("method", METHODS)
def test_names_imported_before(tmp_path, method):
    assert run(tmp_path, NAMES, method=method) == [
        "multiprocessing.synchronize multiprocessing.context True", "[0, 1, 2] [0, 0, 0]",
        "[0, 1, 4, 9]", "[0, 1, 4, 9] True", "[0, 1, 4, 9]",
    ]  # fmt: skip


OURS_IN_THEIRS = """
    import multiprocessing, procession
    from multiprocessing import Process
    from multiprocessing.pool import Pool as PoolClass

    def work(lock, rlock, semaphore, condition, event, barrier, value, array):
        with lock, rlock, semaphore, condition:
            value.add(1)
            array[0] += 1
        event.set()
        barrier.wait(20)

    def prepare(lock, value):
        global shared
        shared = lock, value

    def add(n):
        lock, value = shared
        with lock:
            value.value += n
        return type(multiprocessing.current_process()).__module__

    if __name__ == "__main__":
        ctx = multiprocessing.get_context("METHOD")
        objects = [procession.Lock(), procession.RLock(), procession.Semaphore(2), procession.Condition(),
                   procession.Event(), procession.Barrier(2), procession.Value("i", 0), procession.Array("i", 2)]
        child = ctx.Process(target=work, args=objects)
        child.start()
        objects[5].wait(20)
        child.join()
        print(child.exitcode, objects[4].is_set(), objects[6].value, objects[7][:])
        with PoolClass(2, prepare, (objects[0], objects[6]), context=ctx) as pool:
            print(set(pool.map(add, [1, 2, 3])), objects[6].value)
            pool.close()
            pool.join()
"""


@pytest.mark.parametrize("method", METHODS)
def test_ours_in_their_processes(tmp_path, method):
    assert run(tmp_path, OURS_IN_THEIRS, method=method) == [
        "0 True 1 [1, 0]", "{'multiprocessing.context'} 7",
    ]  # fmt: skip


INSTALL = "import procession; procession.install()"
LOGGING = """
    import logging, logging.handlers, sys
    FIRST
    import multiprocessing

    def work(queue, number):
        logger = logging.getLogger("program")
        logger.handlers[:] = [logging.handlers.QueueHandler(queue)]
        logger.setLevel(logging.INFO)
        logger.info("from %s", number)
        logger.debug("unheard")

    if __name__ == "__main__":
        multiprocessing.set_start_method("METHOD")
        LATER
        queue = multiprocessing.Queue()
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(processName)s %(name)s %(levelname)s %(message)s"))
        listener = logging.handlers.QueueListener(queue, handler)
        for number in range(2):
            child = multiprocessing.Process(target=work, args=(queue, number), name=f"worker-{number}")
            child.start()
            child.join()
        listener.start()  # now: its thread and a fork go ill together
        listener.stop()
        queue.close()
        queue.join_thread()
"""


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("words", [(INSTALL, ""), ("", INSTALL)], ids=["installed first", "installed later"])
def test_logging_through_a_queue(tmp_path, method, words):
    first, later = words
    assert run(tmp_path, LOGGING, method=method, first=first, later=later) == [
        "worker-0 program INFO from 0", "worker-1 program INFO from 1",
    ]  # fmt: skip


PICKLES = """
    import io, multiprocessing, pickle, procession
    from multiprocessing import sharedctypes, synchronize
    from multiprocessing.context import ForkContext, set_spawning_popen
    from multiprocessing.reduction import ForkingPickler
    from multiprocessing.popen_spawn_posix import Popen

    class Carrier:
        DupFd = staticmethod(lambda fd: fd)
        duplicate_for_child = staticmethod(lambda fd: fd)

    ctx = multiprocessing.get_context("spawn")
    objects = [ctx.Lock(), ctx.Event(), ctx.BoundedSemaphore(3), ctx.Process(target=int, name="p"), ForkContext()]
    procession.install()
    set_spawning_popen(Carrier())
    data = bytes(ForkingPickler.dumps(objects))
    print([type(one).__module__.partition(".")[0] for one in pickle.loads(data)])
    procession.uninstall()
    print([type(one).__module__.partition(".")[0] for one in pickle.loads(data)])
    print(bytes(ForkingPickler.dumps(objects)).count(b"procession"), data.count(b"procession") > 0)
    set_spawning_popen(None)
"""


def test_pickles_of_objects_made_before(tmp_path):
    assert run(tmp_path, PICKLES) == [str(["multiprocessing"] * 5), str(["multiprocessing"] * 5), "0 True"]
