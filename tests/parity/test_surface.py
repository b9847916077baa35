"""Every public module of the interpreter's multiprocessing, name by name and signature by signature."""

import importlib
import inspect
import multiprocessing
import pkgutil

import pytest
from signatures import differences, signature_of

import procession

MODULES = ["", *(module.name for module in pkgutil.walk_packages(multiprocessing.__path__))]
MODULES += ["dummy.connection"]
MODULES.remove("popen_spawn_win32")

# A class's special methods that programs rely on, beside its public ones.
SPECIAL = (
    "__init__",
    "__enter__",
    "__exit__",
    "__iter__",
    "__next__",
    "__len__",
    "__getitem__",
    "__setitem__",
)

UNSIGNED = (
    "__init__",
    "__exit__",
)  # the class's own signature is compared; only the interpreter calls the other

# Documented in docs/private-names.md.
DECLINED = {
    "deliver_challenge": "with the digest's name, as from 3.12 on, on every version",
    "Synchronized": "made by Value() and synchronized(), as documented, never by its class",
    "SynchronizedBase": "there to be asked for by isinstance()",
    "MakeProxyType": "without the cache, which theirs has for a third argument",
    "SharedMemoryManager": "theirs hands anything on to BaseManager, whose arguments ours names",
}

# What the newest documentation has, and must be here whatever the interpreter is.
NEWER = {
    "Process": ("interrupt",),  # 3.14
    "context.ForkProcess": ("interrupt",),
    "context.SpawnProcess": ("interrupt",),
    "context.ForkServerProcess": ("interrupt",),
    "synchronize.Lock": ("locked",),  # 3.14
    "synchronize.RLock": ("locked",),
    "synchronize.Semaphore": ("locked",),
    "synchronize.BoundedSemaphore": ("locked",),
}


def load(package, name):
    return importlib.import_module(f"{package}.{name}" if name else package)


def public_names(module):
    """What a module offers: its `__all__`, and what it defines without an underscore."""
    names = set(getattr(module, "__all__", ()))
    for name, value in vars(module).items():
        if name.startswith("_") or inspect.ismodule(value):
            continue
        if getattr(value, "__module__", module.__name__) == module.__name__:
            names.add(name)
    return sorted(names)


@pytest.fixture(params=MODULES, ids=lambda name: name or "multiprocessing")
def modules(request):
    """A module of the standard library's, and ours of that name."""
    return load("multiprocessing", request.param), load("procession", request.param)


def test_every_name_is_there(modules):
    theirs, ours = modules
    assert [name for name in public_names(theirs) if not hasattr(ours, name)] == []
    assert set(getattr(theirs, "__all__", ())) <= set(getattr(ours, "__all__", ()))
    assert [name for name in ours.__all__ if not hasattr(ours, name)] == []


def test_the_same_kind_of_thing(modules):
    theirs, ours = modules
    kinds = (inspect.isclass, callable, inspect.ismodule)
    for name in public_names(theirs):
        one, other = getattr(theirs, name), getattr(ours, name)
        assert [is_one(one) for is_one in kinds] == [is_one(other) for is_one in kinds], name
        if isinstance(one, int | str | float | tuple):
            assert one == other, name


def test_signatures_of_functions(modules):
    theirs, ours = modules
    found = []
    for name in public_names(theirs):
        one, other = getattr(theirs, name), getattr(ours, name)
        if callable(one) and one is not other and name not in DECLINED:
            found += compare(name, one, other)
    assert found == []


def test_signatures_of_methods(modules):
    theirs, ours = modules
    found = []
    for name in public_names(theirs):
        one, other = getattr(theirs, name), getattr(ours, name)
        if inspect.isclass(one) and one is not other and name not in DECLINED:
            found += compare_classes(name, one, other)
    assert found == []


def compare_classes(name, theirs, ours):
    for member in dir(theirs):
        if member.startswith("_") and member not in SPECIAL:
            continue
        if not hasattr(ours, member):
            yield f"{name}.{member} is not there"
            continue
        one, other = getattr(theirs, member), getattr(ours, member)
        if one is not other and callable(one) and member not in UNSIGNED:
            is_static = isinstance(inspect.getattr_static(theirs, member), staticmethod | classmethod)
            yield from compare(f"{name}.{member}", one, other, is_method=not is_static)


def compare(name, theirs, ours, **options):
    expected, found = signature_of(theirs, **options), signature_of(ours, **options)
    if expected is None:
        return []
    if found is None:
        return [f"{name} does not tell its signature"]
    return [f"{name}: {difference}" for difference in differences(expected, found)]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_contexts(method):
    theirs, ours = multiprocessing.get_context(method), procession.get_context(method)
    assert {name for name in dir(theirs) if not name.startswith("_")} <= set(dir(ours))
    assert list(compare_classes("context", type(theirs), type(ours))) == []


@pytest.mark.parametrize("name", NEWER)
def test_names_of_newer_versions(name):
    value = procession
    for part in name.split("."):
        value = getattr(value, part)
    assert [member for member in NEWER[name] if not callable(getattr(value, member, None))] == []


@pytest.mark.parametrize(("theirs", "ours", "is_compatible"), [
    (lambda a, b=1: 0, lambda a, b=1: 0, True),
    (lambda a, b=1: 0, lambda a, b=1, *, c=2: 0, True),
    (lambda a, b=1: 0, lambda *args, **kwargs: 0, True),
    (lambda a, b=1: 0, lambda a, b=2: 0, False),
    (lambda a, b=1: 0, lambda b, a=1: 0, False),
    (lambda a, b=1: 0, lambda a, b=1, c=2: 0, False),
    (lambda a, b=1: 0, lambda a, b=1, *, c: 0, False),
    (lambda a, b=1: 0, lambda a: 0, False),
    (lambda a: 0, lambda a, /: 0, False),
    (lambda *, a=1: 0, lambda a=1: 0, True),
    (lambda *args: 0, lambda a: 0, False),
])  # fmt: skip
def test_what_counts_as_different(theirs, ours, is_compatible):
    assert (differences(signature_of(theirs), signature_of(ours)) == []) is is_compatible
