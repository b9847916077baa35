"""Finalizers, logging and other services: the standard library's module, under this name too."""

import sys
from multiprocessing import util
from multiprocessing.util import *  # noqa: F403  for type checkers
from multiprocessing.util import DEBUG as DEBUG  # noqa: PLC0414
from multiprocessing.util import DEFAULT_LOGGING_FORMAT as DEFAULT_LOGGING_FORMAT  # noqa: PLC0414
from multiprocessing.util import INFO as INFO  # noqa: PLC0414
from multiprocessing.util import LOGGER_NAME as LOGGER_NAME  # noqa: PLC0414
from multiprocessing.util import NOTSET as NOTSET  # noqa: PLC0414
from multiprocessing.util import abstract_sockets_supported as abstract_sockets_supported  # noqa: PLC0414
from multiprocessing.util import spawnv_passfds as spawnv_passfds  # noqa: PLC0414

sys.modules[__name__] = util
