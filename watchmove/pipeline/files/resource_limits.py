"""Limits that a process sets on itself before it reads bytes that are not trusted."""

import resource
from pathlib import Path


def mapped_bytes() -> int:
    """Address space that this process has mapped; 0 where the platform does not report it (macOS)."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def limit_resources(memory_bytes: int, file_bytes: int, cpu_seconds: int | None = None) -> None:
    """Bound this process's address space, the size of each file that it writes and its CPU time; forbid core dumps.

    Beyond its limit an allocation raises MemoryError, a write raises OSError (EFBIG), and CPU time ends the process
    with SIGXCPU. Linux enforces all of them, macOS not the address space. A lower hard limit stays in force.
    """
    wanted = {resource.RLIMIT_AS: memory_bytes, resource.RLIMIT_FSIZE: file_bytes, resource.RLIMIT_CORE: 0}
    if cpu_seconds is not None:
        wanted[resource.RLIMIT_CPU] = cpu_seconds
    for kind, limit in wanted.items():
        _, hard = resource.getrlimit(kind)
        # the hard limit stays as it is: CPU time that reaches it ends in SIGKILL, which does not tell the cause
        resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
