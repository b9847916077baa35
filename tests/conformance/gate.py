"""CPython's own tests of what procession implements, as a gate.

    python tests/conformance/gate.py [--start-method fork|spawn|forkserver|all] [-k GLOB] [--module NAME]

Runs run_cpython_suite.py with this interpreter, and fails unless every *public* and *hook* test of the classes below, and of
test_concurrent_futures with our executor and contexts (where the interpreter was installed with it), passes (or is skipped
where the standard library's is) under each start method, no stand-in took the place of a missing name, and no
standard-library object was made but those of fallthrough.txt. A test classified *improved* may fail: what it asserts is a
shortcoming. The last line counts.
"""

import argparse
import collections
import itertools
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
PACKAGE = HERE.parents[1] / "python"
TESTS = pathlib.Path(os.__file__).parent / "test"
KINDS_OF_FUTURES = ("deadlock/", "process_pool/", "shutdown/")
METHODS = ("fork", "spawn", "forkserver")
CLASSES = (
    "processes/WithProcessesTestLock.*",  # Lock and RLock
    "processes/WithProcessesTestSemaphore.*",
    "processes/WithProcessesTestCondition.*",
    "processes/WithProcessesTestEvent.*",
    "processes/WithProcessesTestBarrier.*",
    "processes/WithProcessesTestSharedMemory.*",
    "processes/WithProcessesTestValue.*",
    "processes/WithProcessesTestArray.*",
    "processes/WithProcessesTestSharedCTypes.*",
    "processes/WithProcessesTestQueue.*",
    "misc/TestSimpleQueue.*",
    "processes/WithProcessesTestPool.*",
    "processes/WithProcessesTestPoolWorkerErrors.*",
    "processes/WithProcessesTestPoolWorkerLifetime.*",
    "misc/TestPoolNotLeakOnFailure.*",
    "processes/WithProcessesTestProcess.*",
    "processes/WithProcessesTestSubclassingProcess.*",
    "processes/WithProcessesTestAtExit.*",
    "processes/WithProcessesTestFinalize.*",
    "processes/WithProcessesTestLogging.*",
    "processes/WithProcessesTestConnection.*",
    "processes/WithProcessesTestPoll.*",
    "processes/WithProcessesTestPollEintr.*",
    "processes/WithProcessesTestListener.*",
    "processes/WithProcessesTestListenerClient.*",
    "processes/WithProcessesTestPicklingConnections.*",
    "manager/*",  # every class of its kind, managers and proxies themselves too
    "misc/TestInitializers.*",
    "misc/TestManagerExceptions.*",
    "misc/TestSyncManagerTypes.*",
    "main/*",  # how a child finds the program's __main__
    "misc/ChallengeResponseTest.*",
    "misc/MiscTestCase.*",
    "misc/OtherTest.*",
    "misc/TestCloseFds.*",
    "misc/TestFlags.*",
    "misc/TestForkAwareThreadLock.*",
    "misc/TestIgnoreEINTR.*",
    "misc/TestNoForkBomb.*",
    "misc/TestStartMethod.*",
    "misc/TestStdinBadfiledescriptor.*",
    "misc/TestWait.*",
    "misc/_TestImportStar.*",
)
MUST_PASS = ("public", "hook", "env")
GOOD = ("pass", "skip")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--module", default="procession")
    parser.add_argument("--start-method", choices=[*METHODS, "all"], default="all")
    parser.add_argument("-k", action="append", help="other tests than the gate's: a glob on kind/Class.test")
    options = parser.parse_args()
    methods = METHODS if options.start_method == "all" else (options.start_method,)
    failures, counts, events = [], collections.Counter(), collections.Counter()
    suites = {"": options.k or CLASSES}
    if not options.k and options.module != "multiprocessing":
        if (TESTS / "test_concurrent_futures").exists() or (TESTS / "test_concurrent_futures.py").exists():
            suites["cf-"] = ()
        else:
            print(
                f"Python {platform.python_version()} was installed without test_concurrent_futures: left out"
            )
    for method, (suite, globs) in itertools.product(methods, suites.items()):
        with tempfile.TemporaryDirectory() as folder:
            outcomes, made = run(options.module, method, suite, globs, pathlib.Path(folder))
        failures += judge_tests(outcomes, method, suite) + judge_names(outcomes)
        counts.update(outcome for outcome, _ in outcomes["methods"][method].values())
        events.update(made)
    if options.module != "multiprocessing":
        failures += judge_events(events)
    for failure in failures:
        print(f"FAILED {failure}")
    bad = len(failures)
    print(f"conformance with Python {platform.python_version()}, {', '.join(methods)}:")
    print(f"{counts['pass']} passed, {bad} failed, {counts['skip']} skipped")
    return int(bad > 0 or counts["pass"] == 0)


def run(
    module: str, method: str, suite: str, globs: tuple[str, ...] | list[str], folder: pathlib.Path
) -> tuple[dict, collections.Counter]:
    report, log = folder / "outcomes.json", folder / "events"
    command = [sys.executable, HERE / "run_cpython_suite.py", "--module", module, "--python", sys.executable]
    command += ["--start-method", method, "--retries", "1", "-v"]
    command += ["--json", report, "--guard", HERE / "guard.py"]
    command += ["--path", PACKAGE]  # children of python -S read no .pth file
    for glob in globs:
        command += ["-k", glob]
    if suite:
        command += ["--suite", "cf", "--executor"]
        for rule in may_fail():
            command += ["--deselect", rule]
    subprocess.run(command, env={**os.environ, "CONFORMANCE_GUARD": str(log)})
    if not report.exists():
        sys.exit("the suite did not run")
    lines = log.read_text().splitlines() if log.exists() else []
    return json.loads(report.read_text()), collections.Counter(tuple(line.split("\t")) for line in lines)


def judge_tests(outcomes: dict, method: str, suite: str) -> list[str]:
    stored = HERE / "baseline" / f"multiprocessing-{suite}{sys.version_info[0]}.{sys.version_info[1]}.json"
    baseline = json.loads(stored.read_text())["methods"][method] if stored.exists() else {}
    wanted = tests_that_must_pass(method)
    return [
        f"{method} {test}: {outcome}"
        for test, (outcome, _) in sorted(outcomes["methods"][method].items())
        if wanted(test)
        and (outcome not in GOOD or (outcome == "skip" and baseline.get(test, ["skip"])[0] != "skip"))
    ]


def may_fail() -> list[str]:
    """Globs of test_concurrent_futures whose tests are not asked for."""
    return [glob for kind, glob, *_ in rules() if kind not in MUST_PASS and glob.startswith(KINDS_OF_FUTURES)]


def rules():
    sys.path.insert(0, str(HERE))
    import run_cpython_suite

    return run_cpython_suite.load_classes(str(HERE / "internals.txt"))


def tests_that_must_pass(method: str):
    import run_cpython_suite

    rules_ = rules()
    return lambda test: run_cpython_suite.classify(test, method, rules_) in MUST_PASS


def judge_names(outcomes: dict) -> list[str]:
    return [
        f"a stand-in took the place of the missing name {name}" for name in sorted(set(outcomes["missing"]))
    ]


def judge_events(events: collections.Counter) -> list[str]:
    allowed = {
        line for line in (HERE / "fallthrough.txt").read_text().splitlines() if line and line[0] != "#"
    }
    used = collections.Counter()
    failures = []
    for (made, where), times in sorted(events.items()):
        made_for = made.removeprefix("_multiprocessing.SemLock for ")
        if made_for in allowed:
            used[made_for] += times * (made == made_for)
        else:
            failures.append(f"{made} was made {times} times by {where}")
    print("still the standard library's (fallthrough.txt):")
    for made in sorted(allowed):
        print(f"  {made:<48} {used[made] or ''}".rstrip())
    return failures


if __name__ == "__main__":
    sys.exit(main())
