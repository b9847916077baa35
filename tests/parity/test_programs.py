"""Whole programs over the surface, whose outputs must be equal on both implementations, under every start method."""

import pathlib
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

MODULES = ("multiprocessing", "procession")
PROGRAMS = pathlib.Path(__file__).parents[1] / "support"


def outputs(program, module, method):
    """What the program prints, without what differs from run to run."""
    done = subprocess.run(
        [sys.executable, PROGRAMS / program, module, method],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    return scrubbed(done.stdout), scrubbed(done.stderr)


def scrubbed(text):
    text = re.sub(r"0x[0-9a-f]+", "0x", text)
    text = re.sub(r"\b(pid|parent)=\d+", r"\1=N", text)
    text = re.sub(r"(Process-)[\d:]+", r"\1N", text)
    return re.sub("multiprocessing|procession", "MODULE", text).splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("program", ["misuse.py", "settings.py", "lives.py", "recipes.py"])
def test_programs(program, method):
    with ThreadPoolExecutor(2) as both:  # side by side
        theirs, ours = both.map(lambda module: outputs(program, module, method), MODULES)
    assert len(theirs[0]) > 15
    assert ours == theirs
