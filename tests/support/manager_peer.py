"""One end of a manager's wire: `python manager_peer.py LIBRARY ROLE PORT`, which imports no other library than LIBRARY.

A server holds everything a SyncManager knows, and one `board` for all clients. A client prints what it sees of each type.
"""

import gc
import importlib
import importlib.util
import queue
import sys

KEY = b"the key"
BOARD = {}


def board():
    return BOARD


class Greeter:
    def __init__(self, name):
        self.name = name

    def greet(self, other):
        return f"{self.name} greets {other}"

    def fail(self):
        raise LookupError(self.name)

    def unpicklable(self):
        return lambda: 0

    def numbers(self):
        return iter(range(3))


def manager_of(library, port):
    managers = importlib.import_module(f"{library}.managers")

    class Manager(managers.SyncManager):
        pass

    Manager.register("board", board, managers.DictProxy)
    Manager.register("Greeter", Greeter, method_to_typeid={"numbers": "Iterator"})
    return Manager(("127.0.0.1", port), KEY)


def serve(library, port):
    server = manager_of(library, port).get_server()
    print(server.address[1], flush=True)
    server.serve_forever()


def connected(library, port):
    # A proxy that comes out of another object knows no key but the process's.
    importlib.import_module(f"{library}.process").current_process().authkey = KEY
    manager = manager_of(library, port)
    manager.connect()
    return manager


def look(library, port):
    """What each type does; the same lines whoever is at the other end."""
    manager = connected(library, port)
    d, l = manager.dict(a=1), manager.list([3, 1, 2])
    d["b"] = [1, 2]
    d["b"].append(3)
    l.sort()
    l += [9]
    print(
        d.copy(), sorted(d), len(d), "a" in d, d.pop("a"), d, l[:], l[0], str(l), repr(l).partition(" at ")[0]
    )
    d["inner"] = l
    d["inner"].append(10)
    print(type(d["inner"]).__name__, l[:], [type(one).__name__ for one in (d, l)])
    n, v, a = manager.Namespace(x=1), manager.Value("i", 2), manager.Array("i", [1, 2])
    n.y = "y"
    v.value += 1
    a[0] = 7
    print(n, n.x, v, v.value, a, a[0], len(a), v._getvalue(), n._getvalue(), a._getvalue())
    q, j = manager.Queue(2), manager.JoinableQueue()
    q.put(1)
    q.put("two")
    j.put(3)
    print(q.full(), q.get(), q.get(), q.empty(), j.get(), j.task_done(), j.join())
    try:
        q.get_nowait()
    except queue.Empty as error:
        print("Empty", error.args)
    lock, rlock, semaphore = manager.Lock(), manager.RLock(), manager.BoundedSemaphore(1)
    with lock, rlock, rlock, semaphore:
        print(lock.acquire(False), semaphore.acquire(False), rlock.acquire())
        rlock.release()
    for one in (lock, rlock, semaphore):
        try:
            one.release()
        except (RuntimeError, ValueError) as error:
            print(type(error).__name__, error)
    condition, event, barrier = manager.Condition(), manager.Event(), manager.Barrier(1)
    with condition:
        print(condition.wait(0.01), condition.notify(), condition.notify_all())
    print(
        event.is_set(),
        event.wait(0.01),
        event.set(),
        event.wait(),
        event.clear(),
        barrier.wait(),
        barrier.parties,
    )
    with manager.Pool(1) as pool:
        asynchronous, items = pool.apply_async(pow, (2, 5)), pool.imap(abs, [-1, -2])
        print(pool.map(abs, [-1, 2]), asynchronous.get(), asynchronous.successful(), list(items))
        asynchronous = items = None
    greeter = manager.Greeter("Ann")
    print(greeter.greet("Bob"), list(greeter.numbers()), repr(greeter).partition(" at ")[0])
    for call in (
        greeter.fail,
        greeter.unpicklable,
        lambda: greeter._callmethod("__init__"),
        lambda: manager.Semaphore(-1),
    ):
        try:
            call()
        except LookupError as error:
            print("LookupError", error)
        except Exception as error:
            print(type(error).__name__, "Traceback (most recent call last)" in str(error))
    gc.collect()  # 3.12 keeps an exhausted iterator in its StopIteration's cycle
    print(manager._number_of_objects())


def write(library, port):
    """Leave proxies on the board for another client."""
    manager = connected(library, port)
    shared = manager.board()
    shared.update(list=manager.list([1]), dict=manager.dict(), queue=manager.Queue(), lock=manager.Lock())
    shared["list"].append(2)
    shared["queue"].put({"value": shared["list"]})


def read(library, port):
    """Use what another client has left."""
    shared = connected(library, port).board()
    got = shared["queue"].get()
    got["value"].append(3)
    shared["dict"]["x"] = shared["list"][:]
    with shared["lock"]:
        print(shared["list"][:], shared["dict"].copy(), sorted(shared.keys()))
    print(
        [type(shared[name]).__name__ for name in ("list", "dict", "lock")],
        shared["list"].__class__.__module__,
    )


def stop(library, port):
    managers = importlib.import_module(f"{library}.managers")
    client = managers.listener_client["pickle"][1]
    managers.dispatch(client(("127.0.0.1", port), authkey=KEY), None, "shutdown")


if __name__ == "__main__":
    name, role, number = sys.argv[1:]
    if name == "multiprocessing" and importlib.util.find_spec("procession"):
        sys.exit("this peer is to have the standard library only")
    {"serve": serve, "look": look, "write": write, "read": read, "stop": stop}[role](name, int(number))
