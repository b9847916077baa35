"""The command line: `procession run`, `procession doctor`.

What a command needs is imported when it is asked for: the doctor must work where
procession's core does not.
"""

import sys
from importlib import import_module
from typing import Any, Final, NamedTuple, NoReturn

import procession

USAGE: Final = """\
usage: procession run [-v] [-d] (script.py | folder | zip file | -) [argument ...]
       procession run [-v] [-d] -m module [argument ...]
       procession run [-v] [-d] -c code [argument ...]
       procession doctor [--json]
       procession --version

run: a Python program with procession in the place of multiprocessing: the program
stays as it is, and its children run on procession too.

  -m module   run a module, as python -m does
  -c code     run a text, as python -c does
  -           run what comes from the standard input
  -d          note where locks are taken: Ctrl-C in a wait then says so (PROCESSION_DEBUG=1)
  -v          say at the end, on stderr, what procession did

doctor: try what procession needs of this system, and say what to do about what is missing.
  --json      as one JSON object

  --version   print the version
"""


class Program(NamedTuple):
    """What to run."""

    kind: str
    """`-m` and `-c` as the command line has them, `-` for standard input, empty for a file."""
    target: str
    """A module's name, a text, or a script, folder or zip file with a `__main__.py`."""
    arguments: list[str]
    is_verbose: bool
    is_debugging: bool


class UsageError(Exception):
    """The command line cannot be understood."""


def parse(arguments: list[str]) -> Program:
    """The program that the words after `procession run` name; options end where the program begins."""
    rest = list(arguments)
    is_verbose = is_debugging = False
    while rest:
        word = rest.pop(0)
        if word == "-v":
            is_verbose = True
        elif word == "-d":
            is_debugging = True
        elif word in ("-m", "-c"):
            if not rest:
                raise UsageError(f"{word} needs {'the name of a module' if word == '-m' else 'a text'}")
            return Program(word, rest[0], rest[1:], is_verbose, is_debugging)
        elif word.startswith("-") and word != "-":
            raise UsageError(f"unknown option {word}")
        else:
            return Program("-" if word == "-" else "", word, rest, is_verbose, is_debugging)
    raise UsageError("nothing to run")


def main() -> None:
    """The entry point of the command; does not return before the program has ended."""
    words = sys.argv[1:]
    match words:
        case ["--version"]:
            sys.stdout.write(f"procession {procession.__version__}\n")
        case [] | ["-h" | "--help"] | ["run", "-h" | "--help"]:
            sys.stdout.write(USAGE)
        case ["run", *rest]:
            _run(rest)
        case ["doctor", *rest]:
            _doctor(rest)
        case _:
            _refuse(f"unknown command {words[0]}")


def _run(words: list[str]) -> None:
    try:
        program = parse(words)
    except UsageError as error:
        _refuse(str(error))
    if program.is_debugging:
        _module("procession._shared.sites").enable()
    runner = _module("procession._cli.run")
    runner.run(program.kind, program.target, program.arguments, is_verbose=program.is_verbose)


def _doctor(words: list[str]) -> NoReturn:
    if words not in ([], ["--json"]):
        _refuse(f"doctor does not understand {' '.join(words)}")
    sys.exit(_module("procession._cli.doctor.command").main(words))


def _module(name: str) -> Any:
    return import_module(name)


def _refuse(why: str) -> NoReturn:
    sys.stderr.write(f"procession: {why}\n{USAGE}")
    sys.exit(2)
