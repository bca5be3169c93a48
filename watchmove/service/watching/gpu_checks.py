"""The checks of GPUs: the driver, a kernel that is run on each, and an all-reduce between them."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from watchmove.service.settings.settings import Settings
from watchmove.service.watching.checks import Check, failed, not_checked, ok, warning
from watchmove.service.watching.gpu_exchange import EXCHANGED, JOINED, LOADED

_NAME, _ALL_REDUCE = "GPU", "GPU: all-reduce"
_KERNEL = (sys.executable, "-m", "watchmove.service.watching.gpu_kernel")
_RANK = (sys.executable, "-m", "watchmove.service.watching.gpu_exchange")
_STAGES = (LOADED, JOINED, EXCHANGED)
_LOADING_SECONDS = 300.0
"""Longest time in which a process loads PyTorch: from a slow disk it takes a minute. Set by hand; not tuned."""
_EXCHANGE_SECONDS = 60.0
"""Longest time of an all-reduce after all ranks have loaded PyTorch. Set by hand; not tuned."""
_FAILED_SECONDS = 30.0
"""How long to wait for the other ranks after one has failed. Set by hand; not tuned."""
_KILLED_SECONDS = 5.0
"""How long to wait for the end of a process that was killed. Set by hand; not tuned."""
_POLL_SECONDS = 0.05
"""How often to look whether the ranks have ended. Set by hand; not tuned."""
_DRIVER_FILE = Path("/proc/driver/nvidia/version")
"""What NVIDIA's kernel module says about itself."""
_DRIVER_VERSION = re.compile(r"Kernel Module.*?\s([0-9]+(?:\.[0-9]+)+)")
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (NCCL's, and not for files of this program)
_REMEDIES = {
    str(_SHARED_MEMORY): "Make /dev/shm larger (an emptyDir volume with medium: Memory, or --shm-size), or set "
    "NCCL_SHM_DISABLE=1.",
    "interface": "Set NCCL_SOCKET_IFNAME and GLOO_SOCKET_IFNAME to a network interface that connects the ranks.",
    "did not find each other": "Set GLOO_SOCKET_IFNAME=lo, and check that processes of this machine can connect.",
    "": "Set NCCL_P2P_DISABLE=1 and check again; if that helps, the GPUs cannot copy to each other directly, as with "
    "IOMMU or ACS on. If it does not, NCCL_DEBUG=INFO says more.",
}
"""Remedies of a failed all-reduce by words of NCCL's or gloo's messages; the first that is found counts."""


def gpu_checks(
    settings: Settings, command: Sequence[str] = _KERNEL, driver_file: Path = _DRIVER_FILE
) -> Iterator[Check]:
    """The checks of what a process that runs `command` finds, of the driver that a file names, and of an all-reduce."""
    if find_spec("torch") is None:
        yield not_checked(_NAME, "PyTorch is not installed")
        return
    driver = driver_version(driver_file)
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=_LOADING_SECONDS, check=False, stdin=subprocess.DEVNULL
        )
        error = (done.stderr.decode(errors="replace").splitlines() or [f"exit code {done.returncode}"])[-1]
        found: dict[str, Any] | None = json.loads(done.stdout) if done.returncode == 0 else None
    except subprocess.TimeoutExpired:
        error, found = f"no answer in {_LOADING_SECONDS:.0f} s", None
    if found is None:
        remedy = "Restart the machine or the pod, and check the driver with nvidia-smi."
        yield failed(_NAME, f"no kernel could be run (driver {driver or 'unknown'}): {error}", remedy)
        return
    yield devices_check(settings, found, driver)
    if found["devices"]:
        yield all_reduce_check(len(found["devices"]))


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


def all_reduce_check(
    ranks: int, device: str = "cuda", seconds: float = _EXCHANGE_SECONDS, command: Sequence[str] = _RANK
) -> Check:
    """The check of an all-reduce by a process for each rank: by NCCL on `cuda`, by gloo on `cpu`.

    `seconds` is the longest time after all processes have loaded PyTorch; those that have not ended then are killed.
    """
    if ranks < 2:
        return not_checked(_ALL_REDUCE, "there is one GPU, so that nothing has to be exchanged")
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder) / f"rank{rank}" for rank in range(ranks)]
        # the ranks' own limit is longer, so that this process says where each of them stands
        processes = _started([*command, device, str(_LOADING_SECONDS + seconds)], outputs)
        try:
            _wait(processes, outputs, seconds)
            codes = [process.poll() for process in processes]
        finally:
            _kill(processes)
        texts = [output.read_text(errors="replace") for output in outputs]
    if codes == [0] * ranks:
        return ok(_ALL_REDUCE, f"{ranks} ranks on {device} have exchanged and added numbers")
    if None in codes and not all(LOADED in text for text in texts) and not any(codes):
        finding = f"PyTorch was not loaded by {ranks} processes in {_LOADING_SECONDS:.0f} s"
        return failed(_ALL_REDUCE, finding, "Check again when the machine is less busy.", may_pass=True)
    finding = "; ".join(_failures(codes, texts)) or _hanging(texts, seconds)
    remedy = next(remedy for words, remedy in _REMEDIES.items() if words in finding)
    return failed(_ALL_REDUCE, f"{finding}{_shared_memory()}", remedy)


def _started(command: Sequence[str], outputs: Sequence[Path]) -> list["subprocess.Popen[bytes]"]:
    """Start a process for each rank, which writes its output to a file."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    # with warnings, because without them NCCL's errors have no cause
    shared = {"NCCL_DEBUG": "WARN", **os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = []
    for rank, path in enumerate(outputs):
        place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(len(outputs))}
        with path.open("wb") as output:
            options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
            processes.append(subprocess.Popen(command, env=shared | place, **options))
    return processes


def _wait(processes: Sequence["subprocess.Popen[bytes]"], outputs: Sequence[Path], seconds: float) -> None:
    """Wait until all processes have ended, but no longer than they may take, and not for long after one has failed."""
    end = time.monotonic() + _LOADING_SECONDS
    has_loaded = has_failed = False
    while time.monotonic() < end:
        codes = [process.poll() for process in processes]
        if None not in codes:
            return
        if not has_loaded and all(LOADED in output.read_text(errors="replace") for output in outputs):
            end, has_loaded = time.monotonic() + seconds, True
        if not has_failed and any(codes):
            # the first that ends may only have lost the one with the cause, which is still ending
            end, has_failed = min(end, time.monotonic() + _FAILED_SECONDS), True
        time.sleep(_POLL_SECONDS)


def _kill(processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    """Kill the processes, and do not wait for one that its driver keeps from ending."""
    for process in processes:
        process.kill()
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_KILLED_SECONDS)


def _failures(codes: Sequence[int | None], texts: Sequence[str]) -> Iterator[str]:
    """What each rank that failed has said, at the stage that it had reached."""
    for rank, (code, text, stage) in enumerate(zip(codes, texts, _stages(texts), strict=True)):
        if code:
            # PyTorch marks the lines of a trace
            lines = [line.removeprefix(f"[rank{rank}]: ") for line in text.splitlines() if line not in _STAGES]
            yield f"{stage}: {(_warnings(text) or lines or [f'exit code {code}'])[-1]}"


def _hanging(texts: Sequence[str], seconds: float) -> str:
    """The stage that each rank has reached, and the last warning of each that has printed one."""
    last = [f"; {warnings[-1]}" for warnings in map(_warnings, texts) if warnings]
    return f"no end within {seconds:.0f} s: {', '.join(_stages(texts))}{''.join(last)}"


def _warnings(text: str) -> list[str]:
    return [line for line in text.splitlines() if "NCCL WARN" in line]


def _stages(texts: Sequence[str]) -> list[str]:
    """Each rank and the stage that it has reached."""
    reached = [[line for line in text.splitlines() if line in _STAGES] for text in texts]
    names = [(lines[-1] if lines else "stage: loading PyTorch").removeprefix("stage: ") for lines in reached]
    return [f"rank {rank} at {name}" for rank, name in enumerate(names)]


def _shared_memory() -> str:
    """The free shared memory: a container has 64 MiB by default, and NCCL takes about 10 MiB for a connection."""
    with suppress(OSError):
        return f" ({_SHARED_MEMORY}: {shutil.disk_usage(_SHARED_MEMORY).free // 2**20} MiB free)"
    return ""


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
