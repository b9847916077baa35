"""Whether every call that one signature takes is taken by another, and means the same."""

import inspect
from collections.abc import Callable
from inspect import Parameter
from typing import Any

NAMED = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
PLACED = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


def signature_of(function: Callable[..., Any], *, is_method: bool = False) -> list[Parameter] | None:
    """The parameters, without a method's first; None when the function does not tell."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None
    return parameters[1:] if is_method else parameters


def differences(theirs: list[Parameter], ours: list[Parameter]) -> list[str]:
    """What a caller of `theirs` could do that `ours` refuses or takes otherwise; empty when nothing."""
    found = [*_placed(theirs, ours), *_named(theirs, ours)]
    known = {parameter.name for parameter in theirs}
    for parameter in ours:
        if parameter.name in known or parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
            continue
        if parameter.default is Parameter.empty:
            found.append(f"{parameter.name} is required, and not in theirs")
        elif parameter.kind is not Parameter.KEYWORD_ONLY and not _is_open(theirs, Parameter.VAR_POSITIONAL):
            found.append(f"{parameter.name} is new, and not by keyword only")
    return found


def _placed(theirs: list[Parameter], ours: list[Parameter]) -> list[str]:
    """Arguments by position."""
    mine = [parameter for parameter in ours if parameter.kind in PLACED]
    found = []
    for place, parameter in enumerate(one for one in theirs if one.kind in PLACED):
        if place < len(mine):
            if parameter.kind in NAMED and mine[place].name != parameter.name:
                found.append(f"argument {place} is {mine[place].name}, not {parameter.name}")
        elif not _is_open(ours, Parameter.VAR_POSITIONAL):
            found.append(f"no argument {place} ({parameter.name})")
    if _is_open(theirs, Parameter.VAR_POSITIONAL) and not _is_open(ours, Parameter.VAR_POSITIONAL):
        found.append("takes no further arguments by position")
    return found


def _named(theirs: list[Parameter], ours: list[Parameter]) -> list[str]:
    """Arguments by name, and defaults."""
    mine = {parameter.name: parameter for parameter in ours}
    found = []
    for parameter in theirs:
        if parameter.kind not in NAMED:
            continue
        if parameter.name not in mine:
            if not _is_open(ours, Parameter.VAR_KEYWORD):
                found.append(f"no argument named {parameter.name}")
            continue
        other = mine[parameter.name]
        if other.kind not in NAMED:
            found.append(f"{parameter.name} cannot be named")
        if parameter.default is not Parameter.empty and other.default != parameter.default:
            found.append(f"{parameter.name} defaults to {other.default!r}, not {parameter.default!r}")
    if _is_open(theirs, Parameter.VAR_KEYWORD) and not _is_open(ours, Parameter.VAR_KEYWORD):
        found.append("takes no further arguments by name")
    return found


def _is_open(parameters: list[Parameter], kind: Any) -> bool:
    return any(parameter.kind is kind for parameter in parameters)
