"""Starting processes as new interpreters: the standard library's module, under this name too."""

import sys
from multiprocessing import spawn
from multiprocessing.spawn import *  # noqa: F403  for type checkers
from multiprocessing.spawn import is_forking as is_forking  # noqa: PLC0414
from multiprocessing.spawn import prepare as prepare  # noqa: PLC0414
from multiprocessing.spawn import spawn_main as spawn_main  # noqa: PLC0414

sys.modules[__name__] = spawn
