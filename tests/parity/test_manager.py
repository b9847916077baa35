"""Calls of managers' proxies: what comes of each on the standard library's server, in our arena, and in our server."""

# ruff: noqa: PLW0108, RUF005  each call is a lambda, in the words of a program

import array
import copy
import multiprocessing
import operator
import pickle
import queue
import threading

import pytest
from children import finish

import procession
import procession.managers

DICT = {"a": 1, "b": [2], 3: None}
LIST = [3, 1, 2, [4]]
CALLS = [
    (
        ("dict", DICT),
        [
            lambda d: d["a"],
            lambda d: d["b"],
            lambda d: d["nothing"],
            lambda d: len(d),
            lambda d: "a" in d,
            lambda d: d.get("x"),
            lambda d: d.get("x", 7),
            lambda d: d.pop("a"),
            lambda d: d.pop("x"),
            lambda d: d.pop("x", 5),
            lambda d: d.popitem(),
            lambda d: list(d),
            lambda d: d.keys(),
            lambda d: d.values(),
            lambda d: d.items(),
            lambda d: d.copy(),
            lambda d: d.clear(),
            lambda d: d.setdefault("a", 9),
            lambda d: d.setdefault("z", 9),
            lambda d: d.update({"q": 1}, r=2),
            lambda d: d.update([("q", 1)]),
            lambda d: operator.setitem(d, "b", {}),
            lambda d: operator.delitem(d, "a"),
            lambda d: operator.delitem(d, "x"),
            lambda d: str(d),
            lambda d: d._getvalue(),
            lambda d: copy.deepcopy(d),
            lambda d: d["b"].append(5),
            lambda d: d._callmethod("get", ("x", 1)),
            lambda d: d._callmethod("__len__"),
            lambda d: d._callmethod("pop", ("a",)),
            lambda d: d._callmethod("no", ()),
            lambda d: d.update(1),
            lambda d: d[[]],
            lambda d: d == d.copy(),
            lambda d: operator.setitem(d, "x", threading.Lock()),
            lambda d: {**d},
            lambda d: next(reversed(d.keys())),
            lambda d: d._token.typeid,
        ],
    ),
    (
        ("list", LIST),
        [
            lambda l: l[0],
            lambda l: l[-1],
            lambda l: l[9],
            lambda l: l[1:3],
            lambda l: l[::-1],
            lambda l: len(l),
            lambda l: 3 in l,
            lambda l: l.append(5),
            lambda l: l.extend((7, 8)),
            lambda l: l.insert(1, "x"),
            lambda l: l.pop(),
            lambda l: l.pop(0),
            lambda l: l.pop(9),
            lambda l: l.remove(1),
            lambda l: l.remove(9),
            lambda l: l.index(2),
            lambda l: l.index(9),
            lambda l: l.count(3),
            lambda l: l.reverse(),
            lambda l: l.sort(key=str),
            lambda l: l.sort(key=str, reverse=True),
            lambda l: operator.setitem(l, 0, 9),
            lambda l: operator.setitem(l, 9, 0),
            lambda l: operator.setitem(l, slice(1, 2), [7, 7]),
            lambda l: operator.delitem(l, 0),
            lambda l: operator.delitem(l, slice(1, 3)),
            lambda l: l + [1],
            lambda l: l * 2,
            lambda l: 2 * l,
            lambda l: list(l),
            lambda l: list(reversed(l)),
            lambda l: str(l),
            lambda l: l._getvalue(),
            lambda l: l[3].append(1),
            lambda l: l._callmethod("append", (1,)),
            lambda l: l["x"],
            lambda l: operator.iadd(l, [1])[:],
            lambda l: operator.imul(l, 2)[:],
            lambda l: operator.imul(l, 0)[:],
            lambda l: l.append(threading.Lock()),
            lambda l: l == l[:],
        ],
    ),
    (
        ("Namespace",),
        [
            lambda n: operator.setitem(vars(n), "_own", 1),
            lambda n: setattr(n, "x", [1]) or n.x,
            lambda n: n.x,
            lambda n: str(n),
            lambda n: delattr(n, "x"),
            lambda n: setattr(n, "b", 1) or setattr(n, "a", "2") or str(n),
            lambda n: setattr(n, "_p", 1) or n._p,
            lambda n: n._q,
            lambda n: n._callmethod("__getattribute__", ("x",)),
            lambda n: n._callmethod("__setattr__", ("x", 2)) or n.x,
            lambda n: hasattr(n, "x"),
            lambda n: setattr(n, "a", 1) or n._getvalue(),
            lambda n: n._callmethod("no"),
        ],
    ),
    (
        ("Value", "i", 1),
        [
            lambda v: v.value,
            lambda v: v.get(),
            lambda v: v.set("any") or v.value,
            lambda v: setattr(v, "value", 3) or v.value,
            lambda v: str(v),
            lambda v: v._getvalue(),
            lambda v: v._callmethod("get"),
        ],
    ),
    (
        ("Array", "i", [1, 2, 3]),
        [
            lambda a: a[0],
            lambda a: a[-1],
            lambda a: a[5],
            lambda a: a[1:],
            lambda a: len(a),
            lambda a: list(a),
            lambda a: str(a),
            lambda a: a._getvalue(),
            lambda a: operator.setitem(a, 0, 9) or a[:],
            lambda a: operator.setitem(a, 0, "x"),
            lambda a: operator.setitem(a, 0, 2**40),
            lambda a: operator.setitem(a, 7, 1),
            lambda a: operator.setitem(a, slice(0, 2), array.array("i", [7, 8, 9])) or a[:],
            lambda a: operator.setitem(a, slice(0, 2), [7]),
            lambda a: a._callmethod("append", (1,)),
            lambda a: operator.setitem(a, slice(0, 2), array.array("d", [7])),
        ],
    ),
    (
        ("Queue", 2),
        [
            lambda q: q.put(1) or q.get(),
            lambda q: q.get_nowait(),
            lambda q: q.get(False),
            lambda q: q.get(True, 0.01),
            lambda q: (q.empty(), q.full(), q.qsize()),
            lambda q: [q.put_nowait(1) for _ in range(3)],
            lambda q: [q.put(1, timeout=0.01) for _ in range(3)],
            lambda q: q.task_done(),
            lambda q: q.join(),
            lambda q: (q.put(1), q.get(), q.task_done(), q.join()),
            lambda q: (q.put(1), q.task_done(), q.task_done()),
            lambda q: q.put(threading.Lock()),
            lambda q: q.get(timeout=-1),
            lambda q: q.put(1, timeout=-1),
        ],
    ),
    (
        ("Lock",),
        [
            lambda k: (
                k.acquire(),
                k.acquire(False),
                k.release(),
                k.acquire(True, 0.01),
                k.acquire(timeout=0.01),
            ),
            lambda k: k.release(),
            lambda k: k.__enter__(),
            lambda k: k.acquire(False, 1),
            lambda k: k.acquire(True, -5),
            lambda k: k._callmethod("acquire"),
        ],
    ),
    (("RLock",), [lambda k: (k.acquire(), k.acquire(), k.release(), k.release()), lambda k: k.release()]),
    (
        ("Semaphore", 2),
        [
            lambda s: (s.acquire(), s.acquire(), s.acquire(False), s.release(), s.acquire(timeout=0.01)),
            lambda s: [s.release() for _ in range(3)],
        ],
    ),
    (("BoundedSemaphore", 1), [lambda s: (s.acquire(), s.release()), lambda s: s.release()]),
    (
        ("Condition",),
        [
            lambda c: c.wait(0.01),
            lambda c: c.notify(),
            lambda c: c.notify_all(),
            lambda c: c.release(),
            lambda c: (c.acquire(), c.wait(0.01), c.notify(2), c.notify_all(), c.release()),
            lambda c: (c.acquire(), c.wait_for(lambda: False, 0.01), c.wait_for(lambda: 5), c.release()),
        ],
    ),
    (
        ("Event",),
        [lambda e: (e.is_set(), e.wait(0.01), e.set(), e.is_set(), e.wait(), e.clear(), e.is_set())],
    ),
    (
        ("Barrier", 1),
        [
            lambda b: (b.parties, b.n_waiting, b.broken, b.wait()),
            lambda b: b.abort() or b.broken,
            lambda b: b.abort() or b.wait(),
            lambda b: b.abort() or b.reset() or b.wait(),
        ],
    ),
    (("Barrier", 2, None, 0.01), [lambda b: b.wait(), lambda b: b.wait(0.01)]),
]
REFUSED = [
    ("dict", 5), ("list", 5), ("Semaphore", -1), ("Array", "?", [1]), ("Array", "i", ["x"]), ("Value",), ("Namespace", 1),
    ("Event", 1),
    ("list", [threading.Lock()]),
]  # fmt: skip


@pytest.fixture(scope="module")
def managers():
    """The standard library's, ours, and ours with an address, where all is in a server."""
    theirs = multiprocessing.get_context("fork").Manager()
    ours = procession.get_context("fork").Manager()
    context = procession.get_context("fork")
    served = procession.managers.SyncManager(f"\0procession-parity-{id(ours)}", ctx=context)
    with theirs, ours, served:
        ours.Event()  # what a manager keeps for itself, it has from now on
        yield theirs, ours, served


def outcome(call):
    """What a call gives, in words."""
    try:
        value = call()
    except procession.managers.RemoteError as error:
        assert "Error: " in error.args[0]  # a traceback, of either side's code
        return "RemoteError", ""
    except Exception as error:
        return type(error).__name__, str(error)
    return type(value).__name__, repr(value)


@pytest.mark.parametrize(
    ("kind", "calls"), CALLS, ids=lambda kind: kind[0] if isinstance(kind, tuple) else ""
)
def test_every_call(managers, kind, calls):
    name, *arguments = kind
    for number, call in enumerate(calls):
        outcomes = []
        for manager in managers:
            proxy = getattr(manager, name)(*arguments)
            came = outcome(lambda: call(proxy))
            state = outcome(proxy._getvalue) if name in ("dict", "list", "Value", "Array") else None
            outcomes.append((came, state))
        theirs, ours, served = outcomes
        assert ours == theirs, number
        assert served == theirs, number


@pytest.mark.parametrize("kind", REFUSED, ids=str)
def test_what_cannot_be_made(managers, kind):
    name, *arguments = kind
    theirs, ours, served = [outcome(lambda: getattr(manager, name)(*arguments)) for manager in managers]
    assert ours == theirs
    assert served == theirs


@pytest.mark.parametrize("kind", [kind for kind, _ in CALLS], ids=lambda kind: kind[0])
def test_looks(managers, kind):
    name, *arguments = kind
    looks = []
    for manager in managers:
        proxy = getattr(manager, name)(*arguments)
        assert isinstance(proxy, multiprocessing.managers.BaseProxy)
        assert isinstance(proxy, getattr(multiprocessing.managers, type(proxy).__name__, object))
        again = pickle.loads(pickle.dumps(proxy)) if manager is managers[1] else proxy
        looks.append([repr(one).partition(" at 0x")[0] for one in (proxy, again)])
    assert looks[0] == looks[1] == looks[2]


def change(nested):
    nested["list"].append("of a child")
    nested["dict"]["of"] = "a child"
    nested["queue"].put(nested["list"][:])


def test_proxies_in_proxies(managers, start):
    for manager in managers:
        inner = manager.list([1])
        nested = manager.dict(list=inner, dict=manager.dict(), queue=manager.Queue())
        finish(start(procession.get_context("fork"), change, nested))
        assert nested["queue"].get() == [1, "of a child"]
        assert inner[:] == [1, "of a child"]
        del inner
        assert (nested["list"][:], nested["dict"].copy()) == ([1, "of a child"], {"of": "a child"})


def test_iterations(managers):
    for manager in managers:
        d, l = manager.dict(a=1, b=2), manager.list([1, 2])
        keys = iter(d)
        assert next(keys) == "a"
        d["c"] = 3
        with pytest.raises(RuntimeError, match="dictionary changed size during iteration"):
            next(keys)
        items = iter(l)
        assert next(items) == 1
        l.append(3)
        assert list(items) == [2, 3]


def test_an_item_that_never_comes(managers):
    for manager in managers:
        with pytest.raises(queue.Empty):
            manager.Queue().get(timeout=0.01)


def test_what_newer_versions_have(managers):
    for manager in managers[1:]:
        d, l, s = manager.dict(a=1), manager.list([1]), manager.set([1, 2])
        assert (d | {"b": 2}, {"b": 2} | d, list(reversed(d))) == ({"a": 1, "b": 2}, {"b": 2, "a": 1}, ["a"])
        d |= {"c": 3}
        assert (d.copy(), d.fromkeys("x", 1)) == ({"a": 1, "c": 3}, {"x": 1})
        assert l.copy() == [1]
        l.clear()
        assert len(l) == 0
        assert (1 in s, len(s), s | {3}, {3} - s, s > {1}, s.union([5])) == (
            True,
            2,
            {1, 2, 3},
            {3},
            True,
            {1, 2, 5},
        )
        s |= {7}
        s -= {1}
        s.add(9)
        assert (s.copy(), sorted(s), sorted(eval(str(s)))) == ({2, 7, 9}, [2, 7, 9], [2, 7, 9])
        with pytest.raises(KeyError):
            s.remove("x")
        lock = manager.Lock()
        with lock:
            assert lock.locked()
        assert not lock.locked()
