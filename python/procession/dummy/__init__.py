"""The interface of processes over threads: the standard library's module, under this name too."""

import sys
from multiprocessing import dummy
from multiprocessing.dummy import *  # noqa: F403  for type checkers

sys.modules[__name__] = dummy
