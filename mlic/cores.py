"""The cores of this machine."""

import os


def usable_cores() -> int:
    """How many cores this process may run on: ``taskset`` or a container may give it fewer."""
    if hasattr(os, 'sched_getaffinity'):  # not on macOS, nor on Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
