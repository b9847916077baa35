"""Fixtures of these tests."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "support"))

from children import gate, start  # noqa: F401
from family import family  # noqa: F401
