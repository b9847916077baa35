"""How objects are pickled for other processes: the standard library's module, under this name too."""

import sys
from multiprocessing import reduction
from multiprocessing.reduction import *  # noqa: F403  for type checkers

sys.modules[__name__] = reduction
