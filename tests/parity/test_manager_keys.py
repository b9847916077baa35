"""Keys of managers' dicts and members of their sets: which are one, and as what they come back."""

import multiprocessing

import pytest
from hashables import KEYS, Name, Part
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import procession

ACTS = {
    "set": lambda d, key, value: d.__setitem__(key, value),
    "get": lambda d, key, value: d.get(key, value),
    "item": lambda d, key, value: d[key],
    "in": lambda d, key, value: key in d,
    "delete": lambda d, key, value: d.__delitem__(key),
    "setdefault": lambda d, key, value: d.setdefault(key, value),
    "pop": lambda d, key, value: d.pop(key, value),
    "popitem": lambda d, key, value: d.popitem(),
    "update": lambda d, key, value: d.update({key: value}),
}


@pytest.fixture(scope="module")
def dicts():
    """The standard library's, and ours."""
    with multiprocessing.get_context("fork").Manager() as theirs, procession.Manager() as ours:
        both = theirs.dict(), ours.dict()
        assert [d.copy() for d in both] == [{}, {}]  # the line to the server is there from now on
        yield both


def outcome(act, *arguments):
    """What a call gives; keys in their own words, for equal ones are not alike."""
    try:
        return repr(act(*arguments))
    except KeyError as error:
        return f"KeyError {error}"


@settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(st.tuples(st.sampled_from(sorted(ACTS)), st.sampled_from(KEYS), st.integers(0, 9)), max_size=40)
)
def test_a_dict_of_all_kinds_of_keys(dicts, steps):
    theirs, ours = dicts
    theirs.clear()
    ours.clear()
    for name, key, value in steps:
        assert outcome(ACTS[name], ours, key, value) == outcome(ACTS[name], theirs, key, value)
    assert repr(ours.items()) == repr(theirs.items())
    assert repr(ours.keys()) == repr(theirs.keys())
    assert str(ours) == str(theirs)
    assert len(ours) == len(theirs)


def test_every_kind_of_key_in_one_dict(dicts):
    for keys in (KEYS, KEYS[::-1]):
        for d in dicts:
            d.clear()
            for number, key in enumerate(keys):
                d[key] = number
        theirs, ours = dicts
        assert repr(ours.items()) == repr(theirs.items())
        assert [ours[key] for key in keys] == [theirs[key] for key in keys]


@pytest.mark.parametrize("key", [lambda: 0, Name(lambda: 0), Part(lambda: 0)], ids=repr)
def test_a_key_that_cannot_be_pickled(dicts, key):
    for d in dicts:
        d.clear()
        with pytest.raises(Exception, match="pickle|no attribute|lower"):
            d[key] = 1
        assert len(d) == 0


def test_what_is_only_equal_to_itself(dicts):
    key = object()
    for d in dicts:
        d.clear()
        d[key] = d[key] = 1
        assert key not in d  # what lies there is a copy
        assert len(d) == 2
