"""The check of GPUs: the driver, and a kernel that is run on each."""

import json
import re
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from watchmove.service.settings.settings import Settings
from watchmove.service.watching.checks import Check, failed, not_checked, ok, warning

_NAME = "GPU"
_KERNEL = (sys.executable, "-m", "watchmove.service.watching.gpu_kernel")
_SECONDS = 300.0
"""Longest time of the process: loading PyTorch from a slow disk takes a minute. Set by hand; not tuned."""
_DRIVER_FILE = Path("/proc/driver/nvidia/version")
"""What NVIDIA's kernel module says about itself."""
_DRIVER_VERSION = re.compile(r"Kernel Module.*?\s([0-9]+(?:\.[0-9]+)+)")


def gpu_check(settings: Settings, command: tuple[str, ...] = _KERNEL, driver_file: Path = _DRIVER_FILE) -> Check:
    """The check of what a process that runs `command` finds, and of the driver that is named in a file."""
    if find_spec("torch") is None:
        return not_checked(_NAME, "PyTorch is not installed")
    driver = driver_version(driver_file)
    try:
        done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False, stdin=subprocess.DEVNULL)
        error = _last_line(done.stderr) or f"exit code {done.returncode}"
        found: dict[str, Any] | None = json.loads(done.stdout) if done.returncode == 0 else None
    except subprocess.TimeoutExpired:
        error, found = f"no answer in {_SECONDS:.0f} s", None
    if found is None:
        remedy = "Restart the machine or the pod, and check the driver with nvidia-smi."
        return failed(_NAME, f"no kernel could be run (driver {driver or 'unknown'}): {error}", remedy)
    return devices_check(settings, found, driver)


def devices_check(settings: Settings, found: dict[str, Any], driver: str) -> Check:
    """The check of what PyTorch found, against what the settings and the `driver` ("" if there is none) say."""
    devices: list[str] = found["devices"]
    if devices:
        names = ", ".join(devices)
        return ok(_NAME, f"{names}: a kernel was run (driver {driver or 'unknown'}, CUDA {found['cuda']})")
    wanted = [name for name, device in _devices(settings).items() if device.startswith("cuda")]
    build = f"PyTorch {found['torch']}, {'CUDA ' + found['cuda'] if found['cuda'] else 'built without CUDA'}"
    if wanted:
        remedy = f"Run where there is a GPU, with a PyTorch that fits its driver, or set {', '.join(wanted)} to cpu."
        return failed(_NAME, f"{', '.join(wanted)} = cuda, and PyTorch finds no GPU ({build})", remedy)
    if driver:
        remedy = "Install a PyTorch that is built for this driver's CUDA, or give the pod a GPU."
        return warning(_NAME, f"there is a driver ({driver}), and PyTorch finds no GPU ({build})", remedy)
    return not_checked(_NAME, "there is no GPU")


def _devices(settings: Settings) -> dict[str, str]:
    return {
        "extract.device": settings.extract.device,
        "pretrain.device": settings.pretrain.device,
        "evaluate.detector.device": settings.evaluate.detector.device,
    }


def driver_version(file: Path = _DRIVER_FILE) -> str:
    """The version of NVIDIA's kernel module, "" if there is none."""
    with suppress(OSError):
        found = _DRIVER_VERSION.search(file.read_text(errors="replace"))
        return found[1] if found else "unknown"
    return ""


def _last_line(text: bytes) -> str:
    lines = text.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
