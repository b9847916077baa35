"""The orphan guard: who goes when the main process is killed, and who does not."""

import pathlib
import sys

import pytest
from family import METHODS

import procession

WORK = ["sleep", "compute", "hold_the_gil", "match_for_ever", "have_many_threads"]

pytestmark = pytest.mark.crash


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("method", METHODS)
def test_a_daemon_goes_with_its_parent_whatever_it_does(family, method, work):
    scene = family(method, "one_daemon", work)
    victim = scene["victim"]
    assert victim.lives()
    scene.kill_main()
    assert victim.is_gone()


@pytest.mark.parametrize("method", METHODS)
def test_one_that_has_no_descriptors_left(family, method):
    scene = family(method, "one_daemon", "use_up_descriptors")
    relatives = [scene["victim"], scene["forked"]]
    scene.kill_main()
    assert all(relative.is_gone() for relative in relatives)


@pytest.mark.parametrize("method", METHODS)
def test_the_end_of_the_thread_that_started_it_means_nothing(family, method):
    scene = family(method, "from_a_thread")
    victim = scene["victim"]
    scene["thread_has_ended"]
    assert victim.lives()
    scene.kill_main()
    assert victim.is_gone()


@pytest.mark.parametrize("method", METHODS)
def test_a_parent_that_nobody_collects_has_ended_too(family, method):
    scene = family(method, "one_daemon")
    victim = scene["victim"]
    scene["main"].kill()
    assert victim.is_gone()


@pytest.mark.parametrize("method", METHODS)
def test_a_program_that_blocks_all_signals(family, method):
    scene = family(method, "all_signals_blocked")
    victim = scene["victim"]
    scene.kill_main()
    assert victim.is_gone()


@pytest.mark.parametrize("method", METHODS)
def test_with_all_that_it_started(family, method):
    scene = family(method, "a_worker")
    names = ["child", "child_with_child", "grandchild", "forked", "executed", "executed_by_shell"]
    relatives = [scene[name] for name in [*names, "worker"]]
    scene.kill_main()
    assert all(relative.is_gone() for relative in relatives)


@pytest.mark.parametrize("method", METHODS)
def test_others_live_on(family, method):
    scene = family(method, "others")
    names = ["ordinary", "ordinary_with_child", "grandchild", "executed"]
    living = [scene[name] for name in names]
    victim = scene["victim"]
    scene.kill_main()
    assert victim.is_gone()
    assert all(relative.lives() for relative in living)


def test_a_parent_that_has_ended_before_the_child_is_set_up(family):
    scene = family("fork", "late")
    child = scene["waiting"]
    scene.kill_main()
    assert child.is_gone()
    assert "victim" not in scene.names()


class TestChildrenOfAZygote:
    def test_go_with_their_logical_parent(self, family):
        scene = family("-", "by_a_zygote")
        guarded, unguarded, zygote = scene["guarded"], scene["unguarded"], scene["zygote"]
        scene.kill_main()
        assert guarded.is_gone()
        assert unguarded.lives()
        assert zygote.lives()

    def test_take_its_word_where_they_cannot_look(self, family):
        scene = family("-", "by_a_zygote", "use_up_descriptors")
        guarded = scene["forked"], scene["guarded"]
        scene["main"].kill()  # and nobody collects it: its pid is still there
        assert all(one.is_gone() for one in guarded)

    def test_live_on_without_the_zygote_and_still_go_with_their_parent(self, family):
        scene = family("-", "by_a_zygote")
        guarded, unguarded, zygote = scene["guarded"], scene["unguarded"], scene["zygote"]
        zygote.kill()
        assert zygote.is_gone()
        assert guarded.lives()
        scene.kill_main()
        assert guarded.is_gone()
        assert unguarded.lives()


def test_what_the_standard_library_would_clean_up_is_cleaned_up(family, eventually):
    scene = family("fork", "one_daemon", "have_a_segment")
    victim = scene["victim"]
    eventually(lambda: any(name.startswith("/dev/shm") for name in scene.names()))
    segment = pathlib.Path(next(name for name in scene.names() if name.startswith("/dev/shm")))
    assert segment.exists()
    scene.kill_main()
    assert victim.is_gone()
    eventually(lambda: not segment.exists())


class TestTheOption:
    def test_is_what_daemons_have(self):
        process = procession.Process()
        assert not process.dies_with_parent
        process.daemon = True
        assert process.dies_with_parent
        process.dies_with_parent = False
        assert not process.dies_with_parent

    def test_cannot_change_after_the_start(self):
        process = procession.get_context("fork").Process(target=int)
        process.start()
        with pytest.raises(AssertionError, match="already started"):
            process.dies_with_parent = True
        process.join()
        process.close()

    def test_a_child_of_one_that_has_it_does_not_inherit_it(self):
        def ask():
            child = procession.get_context("fork").Process(target=int)
            sys.exit(int(child.dies_with_parent))

        process = procession.get_context("fork").Process(target=ask)
        process.dies_with_parent = True
        process.start()
        process.join()
        assert process.exitcode == 0
        process.close()
