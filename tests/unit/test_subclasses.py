"""Subclasses of the primitives, where ours go further than the standard library's."""

import pickle

import pytest

import procession
from procession import synchronize


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_a_condition_calls_the_methods_of_its_lock(kind):
    calls = []

    class Noting(getattr(synchronize, kind)):
        def acquire(self, *arguments, **options):
            taken = super().acquire(*arguments, **options)
            calls.append("acquire")
            return taken

        def release(self):
            calls.append("release")
            super().release()

    condition = procession.Condition(Noting())
    condition.acquire()
    assert condition.wait(0.01) is False
    condition.release()
    assert calls == ["acquire", "release", "acquire", "release"]


class Named(synchronize.Lock):
    """Picklable, as the standard library's subclasses are not."""

    def __init__(self, name):
        super().__init__(on_owner_death="ignore")
        self.title = name


def test_a_pickle_of_a_subclass_is_made_without_its_init():
    lock = Named("first")
    assert lock.on_owner_death == "ignore"
    copy = pickle.loads(pickle.dumps(lock))
    assert type(copy) is Named
    assert not hasattr(copy, "title")
    with lock:
        assert copy.acquire(False) is False


def test_a_subclass_without_our_init():
    class Bare(synchronize.Condition):
        def __init__(self, name):
            pass

    with pytest.raises(RuntimeError, match="has not been called"):
        Bare("b").wait()


def test_a_subclass_of_a_subclass():
    class Longer(Named):
        def __init__(self, name, more):
            super().__init__(name + more)

    assert Longer("a", "b").title == "ab"
    with pytest.raises(ValueError, match="on_owner_death must be"):
        type(
            "L",
            (synchronize.Lock,),
            {"__init__": lambda self: synchronize.Lock.__init__(self, on_owner_death="x")},
        )()


def test_arguments_that_no_class_has():
    for kind in (synchronize.Lock, synchronize.Event):
        with pytest.raises(TypeError):
            kind("name")
        with pytest.raises(TypeError):
            kind(name=1)


def test_barriers_need_parties():
    class Empty(synchronize.Barrier):
        def __init__(self):
            super().__init__(0)

    with pytest.raises(ValueError, match="parties must be > 0"):
        Empty()
