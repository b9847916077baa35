"""Children by forkserver."""

from procession._launch.forkserver import Popen

__all__ = ["Popen"]
