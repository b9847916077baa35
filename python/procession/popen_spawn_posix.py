"""Children by spawn."""

from procession._launch.spawn import Popen

__all__ = ["Popen"]
