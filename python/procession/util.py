"""Finalizers, logging and other services: the standard library's module, under this name too."""

import sys
from multiprocessing import util
from multiprocessing.util import *  # noqa: F403  for type checkers

sys.modules[__name__] = util
