"""Death while a named segment is made or unlinked, at every named point of it: nothing is left in /dev/shm.

Only in builds that have the points (`just crash` makes one).
"""

import os
import signal

import pytest
import segments

from procession import _native

pytestmark = [
    pytest.mark.crash,
    pytest.mark.crash_points,
    pytest.mark.skipif(not _native.CRASH_POINTS, reason="a build without crash points"),
]

POINTS = ("hermit.copied", "hermit.alone", "segment.tagged", "segment.named", "segment.unnamed")


@pytest.mark.parametrize("point", POINTS)
def test_death_at_a_point(point, tmp_path, eventually):
    name = f"procession_crash_{os.getpid()}"
    text = f"""
        segment = SharedMemory({name!r}, create=True, size=10)
        segment.unlink()
    """
    with segments.Program(tmp_path, text, environment={"PROCESSION_CRASH": point}) as program:
        assert program.finish() == (-signal.SIGKILL, "", "")
    eventually(lambda: segments.is_gone(name))
