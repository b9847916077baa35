"""procession itself, tried in an interpreter of its own: whatever happens there, the doctor goes on."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import procession
from procession._cli.doctor.finding import Finding, State

_GROUP: Final = "trial"
_PATIENCE: Final = 60.0  # seconds for three children on a busy machine
_REMEDY: Final = "the failures above say why, or else please report this"

_PROGRAM: Final = """
import json, os, sys
sys.path[:] = json.loads(sys.argv[1])
answers = {}
def tell(name, **facts):
    print(json.dumps({"name": name, **facts}), flush=True)
from procession import _native
import procession
tell("core", version=_native.__version__, cpus=procession.cpus())
lock, total = procession.Lock(), procession.Value("q", 1)
with lock:
    total.add(1)
assert total.value == 2
figures = _native.statistics()
place = os.readlink(f"/proc/self/fd/{_native.arena_fd()}")
tell("arena", size=figures["size"], committed=figures["committed"], place=place)
for method in ("fork", "spawn", "forkserver"):
    event = procession.Event()
    child = procession.get_context(method).Process(target=event.set)
    try:
        child.start()
        child.join()
        ok = child.exitcode == 0 and event.is_set()
        tell(method, error=None if ok else f"the child ended with exit code {child.exitcode}")
    except Exception as error:
        tell(method, error=f"{type(error).__name__}: {error}")
"""


class Trial:
    """What the interpreter said, line by line, and how it ended."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", _PROGRAM, json.dumps(sys.path)]
        done = subprocess.run(  # noqa: S603  our own interpreter
            command, capture_output=True, text=True, timeout=_PATIENCE, check=False, env=_environment()
        )
        self.answers: dict[str, dict[str, Any]] = {}
        for line in done.stdout.splitlines():
            answer = json.loads(line)
            self.answers[answer["name"]] = answer
        self.error = _last_line(done.stderr) if done.returncode > 0 else _death(done.returncode)

    @property
    def arena(self) -> dict[str, Any] | None:
        """Size, committed bytes and place of the shared memory; None when it could not be made."""
        found = self.answers.get("arena")
        return found and {
            "size": found["size"],
            "committed": found["committed"],
            "place": _place(found["place"]),
        }

    @property
    def cpus(self) -> int | None:
        """What `procession.cpus()` says; None when it cannot be asked."""
        found: int | None = self.answers.get("core", {}).get("cpus")
        return found

    def findings(self) -> list[Finding]:
        if "core" not in self.answers:
            return [
                Finding("core", _GROUP, State.FAILED, self.error, "reinstall procession for this interpreter")
            ]
        version = self.answers["core"]["version"]
        if version != procession.__version__:
            detail = f"the compiled part is {version}, the package {procession.__version__}"
            return [Finding("core", _GROUP, State.FAILED, detail, "reinstall procession")]
        found = [Finding("core", _GROUP, State.OK, f"the compiled part is {version}")]
        if self.arena is None:
            return [*found, Finding("arena", _GROUP, State.FAILED, self.error, _REMEDY)]
        found.append(Finding("arena", _GROUP, State.OK, f"a lock and a value in {self.arena['place']}"))
        return [*found, *(self._of_method(method) for method in ("fork", "spawn", "forkserver"))]

    def _of_method(self, method: str) -> Finding:
        answer = self.answers.get(method, {"error": self.error})
        if answer["error"] is None:
            return Finding(method, _GROUP, State.OK, "a child set an event")
        state = State.FAILED if method == "fork" else State.WARNING
        return Finding(method, _GROUP, state, answer["error"], _REMEDY)


def attempt() -> tuple[Trial | None, list[Finding]]:
    """Try it; no trial when the interpreter could not even be asked."""
    try:
        trial = Trial()
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        return None, [Finding("core", _GROUP, State.FAILED, str(error), _REMEDY)]
    return trial, trial.findings()


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PROCESSION_CRASH"}


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _death(returncode: int) -> str:
    if returncode < 0:
        return f"the interpreter was killed by {signal.Signals(-returncode).name}"
    return "it stopped half-way"


def _place(target: str) -> str:
    path = target.removesuffix(" (deleted)")
    if path.startswith("/memfd:"):
        return "memfd"
    return f"an unlinked file in {Path(path).parent}"
