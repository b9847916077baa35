"""What the standard library tells a new process of its parent: name, key, paths, folder, main module.

It is asked for through the module's attribute, because tools (coverage is one) and
`install()` put something of their own in its place.
"""

import os.path
import sys
from multiprocessing import spawn
from typing import TYPE_CHECKING, Any

from procession._wire import main_module

if TYPE_CHECKING:
    from types import FrameType


def data(name: str) -> dict[str, Any]:
    """For the process of that name. RuntimeError while the main module is being imported by a child."""
    try:
        found = spawn.get_preparation_data(name)
    except RuntimeError as error:
        error.add_note(f"The process was started by {_who_asks()}.")
        raise
    if getattr(sys.modules["__main__"], "__file__", None) == main_module.STDIN:
        found.pop("init_main_from_path", None)  # there is nothing to be read again
    return found


def _who_asks() -> str:
    """The line of the program that starts this process."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        package = frame.f_globals.get("__name__", "").partition(".")[0]
        if package not in ("multiprocessing", "procession"):
            return f"{frame.f_code.co_filename}, line {frame.f_lineno}"
        frame = frame.f_back
    return "procession itself"


def finds_main(preparation: dict[str, Any]) -> bool:
    """Whether a process with this preparation has our main module; as the standard library decides."""
    name = preparation.get("init_main_from_name")
    if name is not None:
        return bool(name != "__main__" and not name.endswith(".__main__"))
    path = preparation.get("init_main_from_path")
    return path is not None and os.path.splitext(os.path.basename(path))[0] != "ipython"  # noqa: PTH119, PTH122
