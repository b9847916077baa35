"""Children by fork."""

from procession._launch.fork import Popen

__all__ = ["Popen"]
