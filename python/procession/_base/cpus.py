"""How many processors there are for this process."""

import os
import sys

from procession import _native


def cpus() -> int:
    """How many processes can run at once for this one: at least 1, asked anew at each call.

    The least of what its affinity (`taskset`, cpusets) and the quotas of its control
    groups and their ancestors (version 1 and 2: containers, systemd's CPUQuota) allow. A
    part of a processor counts as one: a quota of 1.5 takes two processes to use up.
    From Python 3.13 on `-X cpu_count=N` and PYTHON_CPU_COUNT say it instead. A sensible
    number of workers; `cpu_count()` counts the machine's processors, as the standard
    library's does.
    """
    allowed = len(os.sched_getaffinity(0))
    if sys.version_info >= (3, 13):
        wished = os.process_cpu_count() or allowed
        if wished != allowed:
            return wished
    quota = _native.cpu_quota()
    return allowed if quota is None else min(allowed, quota)
