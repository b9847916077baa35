"""Each test here has one body and runs twice: on the standard library and on procession."""

import multiprocessing
import multiprocessing.sharedctypes
import pathlib
import sys

import pytest

import procession

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "support"))

from children import gate, start  # noqa: F401


@pytest.fixture(scope="session", autouse=True)
def _standard_heap():
    """The standard library's heap opens a file at its first object and keeps it."""
    multiprocessing.RawValue("i")


@pytest.fixture(params=[multiprocessing, procession], ids=lambda module: module.__name__)
def mp(request):
    """The implementation."""
    return request.param


@pytest.fixture
def ctx(mp):
    """Its context of processes by fork."""
    return mp.get_context("fork")
