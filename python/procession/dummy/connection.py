"""Connections between threads: the standard library's module, under this name too."""

import sys
from multiprocessing.dummy import connection
from multiprocessing.dummy.connection import *  # noqa: F403  for type checkers

sys.modules[__name__] = connection
