"""Processes and who they are: the standard library's module, under this name too."""

import sys
from multiprocessing import process
from multiprocessing.process import *  # noqa: F403  for type checkers

sys.modules[__name__] = process
