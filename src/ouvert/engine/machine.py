"""What of this machine this process may use: memory and cores."""

import os
from pathlib import Path

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
SIBLINGS = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


def memory_bytes() -> int | None:
    """Memory this process may use, as far as the system says: the machine's, or a container's limit if lower.

    Raises nothing.
    """
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if CGROUP_LIMIT.exists() and (limit := CGROUP_LIMIT.read_text().strip()).isdecimal():
        memory = min(memory, int(limit))
    return memory


def physical_cores() -> int:
    """Cores this process may use, each counted once however many threads it runs; processors where that is unknown.

    Raises nothing.
    """
    if hasattr(os, "sched_getaffinity"):
        usable = os.sched_getaffinity(0)
        siblings = [Path(SIBLINGS.format(processor)) for processor in usable]
        if all(path.exists() for path in siblings):
            return len({path.read_text() for path in siblings})
        return len(usable)
    return os.cpu_count() or 1
