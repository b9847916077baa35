"""Children by spawn: the standard library's module, under this name too."""

import sys
from multiprocessing import popen_spawn_posix
from multiprocessing.popen_spawn_posix import *  # noqa: F403  for type checkers

sys.modules[__name__] = popen_spawn_posix
