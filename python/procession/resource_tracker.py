"""Removing what others leave behind: the standard library's module, under this name too."""

import sys
from multiprocessing import resource_tracker
from multiprocessing.resource_tracker import *  # noqa: F403  for type checkers

sys.modules[__name__] = resource_tracker
