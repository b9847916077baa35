"""The server that forks: the standard library's module, under this name too."""

import sys
from multiprocessing import forkserver
from multiprocessing.forkserver import *  # noqa: F403  for type checkers

sys.modules[__name__] = forkserver
