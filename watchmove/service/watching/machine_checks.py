"""Checks of this machine: versions, decoder, cores, memory, disk."""

import importlib.metadata
import os
import platform
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

# no dependency of its own: matplotlib requires it
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.runner.scratch_folder import scratch_folder
from watchmove.service.settings.settings import Settings, usable_cores, worker_count
from watchmove.service.watching.checks import Check, failed, failed_by, not_checked, ok, warning

_PACKAGE = "watchmove"
_WORKER_MEBIBYTES = 512
"""Memory of one worker with its decoder: about twice the measured 217 MiB, because videos may be larger.

The measurement is in docs/explanation/measurements.md: 151 MiB for the extraction and 66 MiB for the decoder.
"""
_CONTROL_GROUPS = Path("/sys/fs/cgroup")
NOT_IN_SLIM_IMAGE = {
    "defusedxml",
    "ffmpeg-python",
    "ijson",
    "imageio-ffmpeg",
    "opencv-contrib-python-headless",
    "scipy",
    "torch",
    "torchvision",
}
"""The requirements that the slim image does without: all but the group `slim` of pyproject.toml."""


def machine_checks(settings: Settings) -> Iterator[Check]:
    """Yield the checks of versions, cores, memory, address space and scratch space."""
    yield from version_checks()
    yield _cores(settings)
    yield memory_check(settings, memory_bytes())
    yield address_space_check(settings, resource.getrlimit(resource.RLIMIT_AS)[1])
    yield _scratch(settings)


def version_checks(package: str = _PACKAGE) -> Iterator[Check]:
    """Yield the check of Python and that of the libraries, against what the installed package requires."""
    try:
        needed = importlib.metadata.metadata(package)["Requires-Python"] or ""
        lines = importlib.metadata.requires(package) or []
    except importlib.metadata.PackageNotFoundError:
        reason = f"{package} is not installed as a package, so that nothing says what it needs"
        yield not_checked("python", reason)
        yield not_checked("libraries", reason)
        return
    python = platform.python_version()
    if SpecifierSet(str(needed)).contains(python, prereleases=True):
        yield ok("python", f"Python {python} ({needed} is required)")
    else:
        yield failed("python", f"Python {python} runs, {needed} is required", "Install a Python of such a version.")
    yield libraries_check([Requirement(line) for line in lines])


def libraries_check(requirements: list[Requirement]) -> Check:
    """The check of the installed libraries against `requirements`."""
    faults, absent, count = [], set(), 0
    for requirement in requirements:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        count += 1
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            absent.add(requirement.name)
            faults.append(f"{requirement.name} is not installed")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            faults.append(f"{requirement.name} {version} is installed, {requirement.specifier} is required")
    if absent == NOT_IN_SLIM_IMAGE and len(absent) == len(faults):
        finding = f"those of the slim image: {', '.join(sorted(absent))} are not installed"
        return warning("libraries", finding, "Use the full image for world, extract, pretrain and evaluate.")
    if faults:
        return failed("libraries", ", ".join(faults), "Install them: pip install --requirement requirements.txt")
    return ok("libraries", f"all {count} libraries have a version that is permitted")


def _cores(settings: Settings) -> Check:
    cores, workers = usable_cores(), worker_count(settings)
    if workers > cores:
        finding = f"work.workers = {workers}, and {cores} cores are usable"
        return warning("cores", finding, "Set work.workers to 0, which starts one worker for each usable core.")
    return ok("cores", f"{cores} usable of {os.cpu_count()}, for {workers} workers")


def memory_check(settings: Settings, total_bytes: int) -> Check:
    """The check of this machine's memory, in bytes, against what the workers need."""
    workers = worker_count(settings)
    need = workers * _WORKER_MEBIBYTES * 2**20
    if total_bytes < need:
        finding = f"{_gibibytes(total_bytes)} in all, and {workers} workers may need {_gibibytes(need)}"
        return warning("memory", finding, "Set work.workers to fewer workers, or give the machine or pod more memory.")
    return ok("memory", f"{_gibibytes(total_bytes)} for {workers} workers")


def memory_bytes(control_groups: Path = _CONTROL_GROUPS) -> int:
    """Memory that this process may use, in bytes: the machine's, or the limit of its control group (version 2 or 1)."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for file in (control_groups / "memory.max", control_groups / "memory" / "memory.limit_in_bytes"):
        try:
            return min(total, int(file.read_text()))
        except (OSError, ValueError):  # no such file, or the word `max`
            continue
    return total


def address_space_check(settings: Settings, hard_limit: int) -> Check:
    """The check of the hard limit on address space, in bytes, against what the settings permit one video to use."""
    if sys.platform != "linux":
        return not_checked("address space", f"{sys.platform} does not limit it")
    need = max(settings.work.video_memory_mebibytes, settings.extract.decoder_memory_mebibytes) * 2**20
    if hard_limit != resource.RLIM_INFINITY and hard_limit < need:
        finding = f"limited to {_gibibytes(hard_limit)}, and the settings permit a video {_gibibytes(need)}"
        remedy = "Raise the limit (ulimit -v); until then large videos end as unreadable."
        return warning("address space", finding, remedy)
    return ok("address space", f"not limited below the {_gibibytes(need)} that the settings permit a video")


def _scratch(settings: Settings) -> Check:
    name, parent = "scratch space", settings.work.scratch
    try:
        with scratch_folder(parent) as folder:
            free = shutil.disk_usage(folder).free
    except InvalidInput as error:
        return failed_by(name, error)
    return scratch_check(settings, parent or tempfile.gettempdir(), free)


def scratch_check(settings: Settings, parent: str, free_bytes: int) -> Check:
    """The check of the free space in the folder `parent`, in bytes, against what the settings permit a step to use."""
    work = settings.work
    limits = {
        "work.scratch_mebibytes": work.scratch_mebibytes,
        "work.training_cache_mebibytes": work.training_cache_mebibytes,
    }
    free = f"{_gibibytes(free_bytes)} free in {parent}"
    larger = [f"{name} = {mebibytes}" for name, mebibytes in limits.items() if mebibytes * 2**20 > free_bytes]
    if not larger:
        return ok("scratch space", free)
    remedy = "Free space, name a larger folder in work.scratch, or lower these settings."
    return warning("scratch space", f"{free}, and the settings permit more: {', '.join(larger)}", remedy)


def _gibibytes(number: int) -> str:
    return f"{number / 2**30:.1f} GiB"
