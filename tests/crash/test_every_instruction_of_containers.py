"""Killed after every instruction of a change of a container: it is done or not begun, and nobody waits."""

import pytest
import stepping
from campaign import Campaign
from hashables import Name

from procession import _native, shared

pytestmark = pytest.mark.crash


@pytest.fixture
def stride(request):
    """Acts of a thousand places and more each: wider steps, unless they are asked for."""
    return request.config.getoption("--stride") or 256


PLAIN = {"a": 1, "b": "x" * 200, "c": None}


def fresh_dict():
    return shared.dict(PLAIN | {"nested": shared.list([1])})


DICTS = {
    "set a new key": (lambda d: d.__setitem__("new", "value"), {"new": "value"}),
    "set a key again": (lambda d: d.__setitem__("b", "y" * 90), {"b": "y" * 90}),
    "set a key that is spelt": (lambda d: d.__setitem__(True, "new"), {True: "new"}),
    "set a key that is compared": (lambda d: d.__setitem__(Name("New"), "value"), {Name("new"): "value"}),
    "delete a key": (lambda d: d.__delitem__("b"), {"b": ...}),
    "incr": (lambda d: d.incr("a", 5), {"a": 6}),
    "replace a nested list": (lambda d: d.__setitem__("nested", 2), {"nested": 2}),
    "nest a list": (lambda d: d.__setitem__("a", shared.list([7])), {"a": [7]}),
}


@pytest.mark.parametrize("name", DICTS)
def test_change_of_a_dict(stepper, stride, name):
    act, change = DICTS[name]
    before = PLAIN | {"nested": [1]}
    after = {key: value for key, value in (before | change).items() if value is not ...}
    d = fresh_dict()

    def check():
        found = d.copy()  # without a lock
        assert found in (before, after), f"neither before nor after: {found}"
        d["again"] = 1  # takes the dead's lock over
        del d["again"]
        assert d.copy() == found
        d.clear()
        d.update(PLAIN, nested=shared.list([1]))

    Campaign(stepper, stride, f"dict: {name}").run(
        lambda: stepping.fork_victim(lambda: None, lambda _: (act(d), None)[1]), check=check
    )


LISTS = {
    "append": (lambda items: items.append("new"), lambda items: items.append("new")),
    "append beyond the room": (lambda items: items.extend(range(9)), lambda items: items.extend(range(9))),
    "set an item": (lambda items: items.__setitem__(1, "other"), lambda items: items.__setitem__(1, "other")),
    "pop": (lambda items: items.pop(), lambda items: items.pop()),
    "insert": (lambda items: items.insert(1, "new"), lambda items: items.insert(1, "new")),
    "delete a slice": (
        lambda items: items.__delitem__(slice(0, 2)),
        lambda items: items.__delitem__(slice(0, 2)),
    ),
}


@pytest.mark.parametrize("name", LISTS)
def test_change_of_a_list(stepper, stride, name):
    act, on_plain = LISTS[name]
    before = ["a", 2, "x" * 100, None]
    after = list(before)
    on_plain(after)
    items = shared.list(before)

    def check():
        found = items.copy()  # without a lock
        assert found in (before, after), f"neither before nor after: {found}"
        items.append("again")  # takes the dead's lock over
        assert items.copy() == [*found, "again"]
        items[:] = before

    Campaign(stepper, stride, f"list: {name}").run(
        lambda: stepping.fork_victim(lambda: None, lambda _: (act(items), None)[1]), check=check
    )


def test_count(stepper, stride):
    count = shared.counter()
    seen = [0]

    def check():
        assert count.value in (seen[0], seen[0] + 1)
        seen[0] = count.value

    Campaign(stepper, stride, "counter: add").run(
        lambda: stepping.fork_victim(lambda: None, lambda _: (count.add(), None)[1]), check=check
    )


def test_the_last_handle_of_a_full_dict(stepper, stride):
    """The end of a dict, killed in the middle: the sweeper frees the rest."""

    def make_victim():
        def prepare():
            return [shared.dict({number: shared.list([number]) for number in range(6)})]

        return stepping.fork_victim(prepare, lambda held: held.clear())

    Campaign(stepper, stride, "dict: drop the last handle").run(make_victim)


def test_grow(stepper, stride):
    def make_victim():
        d = shared.dict({number: number for number in range(5)})

        def act(_):
            d[5] = 5

        return stepping.fork_victim(lambda: None, act)

    Campaign(stepper, stride, "dict: grow").run(make_victim, check=_native.sweep)
