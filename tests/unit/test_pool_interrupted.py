"""Ctrl-C in a terminal, in the middle of a pool's work: one traceback, and nothing is left."""

import contextlib
import fcntl
import os
import pathlib
import pty
import signal
import subprocess
import sys
import termios
import textwrap

import pytest

SUPPORT = str(pathlib.Path(__file__).parents[1] / "support")
PROGRAM = """
    import sys, time
    sys.path.insert(0, {support!r})
    import procession, tasks

    def rest(x):
        print("begun", flush=True)
        time.sleep(60)

    if __name__ == "__main__":
        ctx = procession.get_context({method!r})
        {body}
"""
BODIES = {
    "with": "with ctx.Pool(3) as pool: pool.map(rest, range(3), 1)",
    "without": "pool = ctx.Pool(3); pool.map(rest, range(3), 1)",
    "imap": "with ctx.Pool(3) as pool: list(pool.imap(rest, iter(range(3))))",
}


class Terminal:
    """A program with a terminal of its own, whose foreground it is."""

    def __init__(self, path):
        self._end, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, path],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**os.environ, "PYTHON_COLORS": "0"},
            preexec_fn=lambda: fcntl.ioctl(slave, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        self.text = ""

    def read(self):
        with contextlib.suppress(OSError):  # the last process of the terminal has ended
            more = os.read(self._end, 65536).decode()
            self.text += more
            return bool(more)
        return False

    def type(self, text):
        os.write(self._end, text)

    def close(self):
        os.close(self._end)


def members(session):
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
                if int(fields[3]) == session and fields[0] != "Z":
                    found.append(int(name))
    return found


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("body", ["with", "without", "imap"])
def test_ctrl_c(tmp_path, method, body, eventually):
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM).format(support=SUPPORT, method=method, body=BODIES[body]))
    terminal = Terminal(str(program))
    try:
        while terminal.text.count("begun") < 3:
            assert terminal.read(), terminal.text
        terminal.type(b"\x03")
        while terminal.read():
            pass
        assert terminal.process.wait(20) == -signal.SIGINT
        assert terminal.text.count("Traceback (most recent call last)") == 1, terminal.text
        assert terminal.text.rstrip().endswith("KeyboardInterrupt")
        eventually(lambda: members(terminal.process.pid) == [])
    finally:
        terminal.process.kill()
        terminal.process.wait()
        terminal.close()
