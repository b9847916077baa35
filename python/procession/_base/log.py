"""The logger `procession`, silent unless the program configured logging.

Who never imported `logging` can have no handler: then there is nobody to tell,
and the import is spared. Daemons load this module when they begin: it imports next to nothing.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAME = "procession"


def warning(message: str) -> None:
    """One line for the program's log."""
    logging = sys.modules.get("logging")
    if logging is None:
        return
    logger = logging.getLogger(NAME)
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())  # else logging's last resort writes to stderr
    logger.warning(message)


def error(message: str, about: BaseException) -> None:
    """An error that nobody is there to be raised at: for the program's log with its traceback, else on stderr."""
    logging = sys.modules.get("logging")
    if logging is not None:
        logger = logging.getLogger(NAME)
        if any(not isinstance(handler, logging.NullHandler) for handler in _handlers(logger)):
            logger.error(message, exc_info=about)
            return
    __import__("traceback")
    lines = sys.modules["traceback"].format_exception(about)
    try:
        sys.stderr.write(f"procession: {message}\n{''.join(lines)}")
    except (AttributeError, OSError, ValueError):  # no stderr, or a closed one
        return


def _handlers(logger: Any) -> list[Any]:
    """Who would hear of it."""
    found = list(logger.handlers)
    while logger.parent is not None and logger.propagate:
        logger = logger.parent
        found += logger.handlers
    return found
