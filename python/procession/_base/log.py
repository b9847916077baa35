"""The logger `procession`, silent unless the program configured logging.

Who never imported `logging` can have no handler: then there is nobody to tell,
and the import is spared.
"""

import sys
from typing import Final

NAME: Final = "procession"


def warning(message: str) -> None:
    """One line for the program's log."""
    logging = sys.modules.get("logging")
    if logging is None:
        return
    logger = logging.getLogger(NAME)
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())  # else logging's last resort writes to stderr
    logger.warning(message)
