"""Children by spawn on Windows: the standard library's module, which nowhere else can be imported."""

import sys
from multiprocessing import popen_spawn_win32
from multiprocessing.popen_spawn_win32 import *  # noqa: F403  for type checkers

sys.modules[__name__] = popen_spawn_win32
