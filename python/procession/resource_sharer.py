"""Sending descriptors to other processes: the standard library's module, under this name too."""

import sys
from multiprocessing import resource_sharer
from multiprocessing.resource_sharer import *  # noqa: F403  for type checkers

sys.modules[__name__] = resource_sharer
