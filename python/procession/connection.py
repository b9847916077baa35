"""Connections between processes: the standard library's module, under this name too."""

import sys
from multiprocessing import connection
from multiprocessing.connection import *  # noqa: F403  for type checkers

sys.modules[__name__] = connection
