"""Children by forkserver: the standard library's module, under this name too."""

import sys
from multiprocessing import popen_forkserver
from multiprocessing.popen_forkserver import *  # noqa: F403  for type checkers

sys.modules[__name__] = popen_forkserver
