"""`procession doctor [--json]`."""

import json
import os
import platform
import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, Final

import procession
from procession._base import compat
from procession._base import platform as supported
from procession._cli.doctor import kernel, limits, processes, trial
from procession._cli.doctor.finding import Finding, State

SCHEMA: Final = 1
STATUS: Final = {"works": 0, "warnings": 1, "unusable": 3}  # 2 is a wrong command line

_HEADLINE: Final = {
    "works": "procession works here",
    "warnings": "procession works here, and something will get in the way",
    "unusable": "procession cannot work here",
}


def main(words: list[str]) -> int:
    """Write the report; the exit status."""
    report = examine()
    if "--json" in words:
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        sys.stdout.write("".join(f"{line}\n" for line in lines(report)))
    return STATUS[report["verdict"]]


def examine() -> dict[str, Any]:
    """Run every check; the report as JSON has it."""
    findings = [probe() for probe in (*kernel.PROBES, *processes.PROBES)]
    findings += limits.findings()
    tried, found = trial.attempt()
    findings += found
    return {
        "schema": SCHEMA,
        "verdict": _verdict(findings),
        "procession": {"version": procession.__version__, "refusal": supported.refusal()},
        "python": _python(),
        "system": _system(tried.cpus if tried else None),
        "environment": {name: value for name, value in os.environ.items() if name.startswith("PROCESSION_")},
        "arena": tried.arena if tried else None,
        "findings": [{**asdict(finding), "state": finding.state.value} for finding in findings],
        "standard_library": compat.compat(),
    }


def _verdict(findings: Iterable[Finding]) -> str:
    states = {finding.state for finding in findings}
    if State.FAILED in states:
        return "unusable"
    return "warnings" if State.WARNING in states else "works"


def _python() -> dict[str, Any]:
    return {
        "version": platform.python_version(),
        "implementation": sys.implementation.name,
        "executable": sys.executable,
        "start_method": _start_method(),
    }


def _start_method() -> str:
    """What the interpreter starts processes by, when the program says nothing."""
    import multiprocessing  # noqa: PLC0415  large, and needed only here

    return multiprocessing.get_all_start_methods()[0]


def _system(usable: int | None) -> dict[str, Any]:
    return {
        "kernel": os.uname().release,
        "machine": os.uname().machine,
        "cpus": os.cpu_count(),
        "cpus_allowed": len(os.sched_getaffinity(0)),
        "cpus_usable": usable,
    }


# ---- as people read it ----------------------------------------------------------


def lines(report: dict[str, Any]) -> Iterable[str]:
    python, system = report["python"], report["system"]
    yield (
        f"procession {report['procession']['version']}, {python['implementation']} {python['version']}, "
        f"Linux {system['kernel']} {system['machine']}"
    )
    yield f"{_HEADLINE[report['verdict']]}{_counts(report['findings'])}"
    if report["procession"]["refusal"]:
        yield report["procession"]["refusal"]
    group = None
    for finding in report["findings"]:
        if finding["group"] != group:
            group = finding["group"]
            yield ""
            yield group
        yield f"  {finding['state']:<8} {finding['name']:<20} {finding['detail']}"
        if finding["remedy"]:
            yield f"{'':<11}{'':<20}-> {finding['remedy']}"
    yield ""
    yield from _facts(report)


def _counts(findings: list[dict[str, Any]]) -> str:
    counts = {state: sum(found["state"] == state.value for found in findings) for state in State}
    named = [f"{counts[state]} {state.value}" for state in State if counts[state]]
    return f" ({', '.join(named)})"


def _facts(report: dict[str, Any]) -> Iterable[str]:
    python, system, arena = report["python"], report["system"], report["arena"]
    yield f"interpreter     {python['executable']}"
    yield f"start method    {python['start_method']}, unless the program chooses"
    yield f"cpus            {system['cpus']}, {system['cpus_allowed']} allowed, {system['cpus_usable']} to be used"
    if arena:
        yield (
            f"shared memory   {limits.size(arena['size'])}, sparse, in {arena['place']}; "
            f"{limits.size(arena['committed'])} taken by a small program"
        )
    for name, value in report["environment"].items():
        yield f"environment     {name}={value}"
    left = ", ".join(report["standard_library"])
    yield f"still the standard library's: {left or 'nothing'}"
