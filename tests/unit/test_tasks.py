"""The pure pieces of a pool: segments, ledgers, paces, options. No process anywhere."""

import pickle
from types import SimpleNamespace

import pytest

from procession._work import pace, worker
from procession._work.last_words import SIZE, LastWords
from procession._work.options import DEFAULT, Options
from procession._work.segments import MASK, Ledger, Segment


def segment(low, high):
    return Segment("job", 0, list(range(100)), low, high)


def places(segments):
    return [(one.first, len(one)) for one in segments]


def test_a_segment_is_cut_from_both_ends():
    whole = segment(10, 20)
    head, tail = whole.cut(3), whole.cut_tail(2)
    assert places([head, whole, tail]) == [(10, 3), (13, 5), (18, 2)]
    assert list(whole.content()) == [13, 14, 15, 16, 17]
    assert [(one.first, one.alone) for one in tail.singles()] == [(18, True), (19, True)]


def test_results_come_in_the_order_of_the_numbers():
    ledger = Ledger()
    ledger.give(0, segment(10, 14))
    ledger.give(4, segment(50, 52))
    assert places([ledger.answer(0, 3)]) == [(10, 3)]
    assert places([ledger.answer(3, 9)]) == [(13, 1)]
    with pytest.raises(LookupError):
        ledger.answer(5, 1)
    ledger = Ledger()
    ledger.give(4, segment(50, 52))
    assert places([ledger.answer(4, 2)]) == [(50, 2)]
    assert ledger.count == 0 and ledger.first() is None


@pytest.mark.parametrize("count", range(7))
def test_what_is_taken_back_is_the_end_in_order(count):
    ledger = Ledger()
    ledger.give(0, segment(10, 14))
    ledger.give(4, segment(50, 52))
    taken = [task for one in ledger.take_back(count) for task in one.content()]
    assert taken == [10, 11, 12, 13, 50, 51][6 - count :]
    assert ledger.count == 6 - count


@pytest.mark.parametrize("first", [0, MASK - 2])
@pytest.mark.parametrize("answered", range(6))
def test_the_dead_have_lost_what_they_had_begun_and_not_answered(first, answered):
    ledger = Ledger()
    ledger.give(first, segment(10, 14))
    ledger.give((first + 4) & MASK, segment(50, 52))
    number = first
    for _ in range(answered):
        ledger.answer(number, 1)
        number = (number + 1) & MASK
    tasks = [10, 11, 12, 13, 50, 51]
    lost, others = ledger.bury((number + 1) & MASK, None)
    assert [task for one in lost for task in one.content()] == tasks[answered : answered + 1]
    assert [task for one in others for task in one.content()] == tasks[answered + 1 :]


def test_who_dies_between_two_tasks_has_lost_none():
    ledger = Ledger()
    ledger.give(7, segment(0, 3))
    ledger.answer(7, 1)
    lost, others = ledger.bury(8, None)
    assert lost == [] and places(others) == [(1, 2)]


@pytest.mark.parametrize("unread", [None, 14, 12, 10])
def test_who_dies_opening_a_message_has_lost_the_only_task_in_it_or_none_yet(unread):
    ledger = Ledger()
    ledger.give(10, segment(0, 2), None, 10)  # a message of four tasks, and one of one
    ledger.give(12, segment(20, 22), None, 10)
    ledger.give(14, segment(30, 31))
    lost, others = ledger.bury(10, unread)
    taken = 0 if unread == 10 else 5 if unread is None else unread - 10
    assert lost == [] and [task for one in others for task in one.content()] == [0, 1, 20, 21, 30]
    assert [one.alone for one in others for _ in range(len(one))] == [place < taken for place in range(5)]
    ledger.give(14, segment(30, 31))
    ledger.give(15, segment(40, 44))
    lost, others = ledger.bury(14, 15)
    assert places(lost) == [(30, 1)] and places(others) == [(40, 4)]
    assert not others[0].alone


def test_short_tasks_are_given_many_at_a_time_and_long_ones_singly():
    quick, slow = pace.Pace(), pace.Pace()
    assert quick.ahead() == 1
    assert quick.note((1_000_000, 1000)) and not quick.note((1_000_000, 1000))
    slow.learn(1.0, 1)
    assert quick.ahead() > 1000 and slow.ahead() == 1
    quick.learn(0.001, 1)  # it may have waited
    assert quick.ahead() > 1000
    quick.learn(1.0, 1)
    assert quick.ahead() == 1  # at once: who has too much keeps others waiting


def test_of_what_is_large_a_worker_has_little_before_it():
    heavy = pace.Pace()
    heavy.note((1_000_000, 1000))
    assert not heavy.is_heavy and heavy.together() > 1000
    heavy.weigh_given(2 << 20, 2)
    assert heavy.is_heavy and (heavy.ahead(), heavy.together()) == (4, 1)
    heavy.weigh_given(1 << 30, 1)
    assert (heavy.ahead(), heavy.together()) == (2, 1)
    heavy.weigh_given(1 << 20, 64)
    assert not heavy.is_heavy and (heavy.ahead(), heavy.together()) == (256, 64)
    heavy.weigh_results(1 << 20)  # what comes out weighs, too
    assert heavy.is_heavy and (heavy.ahead(), heavy.together()) == (4, 64)
    heavy.weigh_given(0, 1)
    heavy.weigh_results(0)
    assert not heavy.is_heavy and heavy.ahead() > 1000
    heavy.learn(1.0, 1)
    heavy.weigh_given(1 << 20, 1)
    assert heavy.ahead() == 1  # long tasks are given singly, whatever they weigh


def test_portions():
    assert pace.portion(100, 0, 1000, 4) == 100
    assert pace.portion(100, 0, 40, 4) == 10
    assert pace.portion(100, 0, 1, 4) == 1
    assert pace.portion(100, 60, 1000, 4) == 0
    assert pace.portion(100, 30, 1000, 4) == 70
    assert pace.portion(1, 1, 1000, 4) == 0
    assert pace.portion(1, 0, 0, 4) == 0


def test_the_usual_chunks_are_the_standard_library_s():
    assert [pace.chunksize(items, 4) for items in (0, 1, 16, 17, 1000)] == [0, 1, 1, 2, 63]


def test_options():
    assert DEFAULT.changed({}) is DEFAULT
    changed = DEFAULT.changed({"retries": 2}).changed({"timeout": 1.5})
    assert (changed.retries, changed.timeout) == (2, 1.5)
    assert changed.attempts_after(died=True) == 2
    assert Options(on_worker_death="retry").attempts_after(died=True) == 3
    assert Options(on_worker_death="retry").attempts_after(died=False) == 0
    with pytest.raises(TypeError, match="nonsense"):
        DEFAULT.changed({"nonsense": 1})


@pytest.mark.parametrize("lengths", [[0], [3], [4088], [4087, 2], [5000], [1000] * 9, [4080, 20, 9000, 1]])
def test_last_words_are_the_last(lengths):
    words, written = LastWords(), ""
    for number, length in enumerate(lengths):
        text = chr(ord("a") + number) * length
        words.add(text)
        written += text
    assert words.tell() == written[-SIZE:]


def test_last_words_of_many_lines():
    words = LastWords()
    words.add("".join(f"{number}\n" for number in range(100)))
    assert words.tell().splitlines() == [str(number) for number in range(80, 100)]


def test_a_worker_that_can_begin_no_task_ends():
    """A library built from other sources, for one: its error is the worker's, and not tried again for ever."""

    class Desk:
        answered = 0

        def claims(self):
            return 0, 0

        def run(self, *_):
            raise TypeError("run() takes other arguments")

    message = bytes([0]) + pickle.dumps((worker.ITEMS, pickle.dumps(abs), [1], False, 1))
    with pytest.raises(TypeError, match="other arguments"):
        worker._Worker(Desk(), SimpleNamespace(ring=None), False)._answer(0, 1, message)
