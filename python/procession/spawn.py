"""Starting processes as new interpreters: the standard library's module, under this name too."""

import sys
from multiprocessing import spawn
from multiprocessing.spawn import *  # noqa: F403  for type checkers

sys.modules[__name__] = spawn
