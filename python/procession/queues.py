"""Queues: the standard library's module, under this name too."""

import sys
from multiprocessing import queues
from multiprocessing.queues import *  # noqa: F403  for type checkers

sys.modules[__name__] = queues
