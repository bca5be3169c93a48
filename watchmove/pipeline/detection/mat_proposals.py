"""Published proposals in MATLAB's format: cells `boxes` and `images`, as selective search was published for VOC."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from watchmove.pipeline.arrays import BoxArray
from watchmove.pipeline.detection.proposal_files import proposals_from_bytes
from watchmove.pipeline.errors import InvalidInput, Unavailable

REFUSED_EXIT_CODE = 65
"""The loading process ends with it when the file is at fault; its standard error then holds the message."""

_MAX_MEMORY_BYTES = 3 * 2**29
"""Memory for loading, above what the program itself takes: a bound, not a tuned value.

2,000 boxes of four float64 for each of the 11,540 images of VOC 2012 take 0.7 GiB in the file, 1.1 GiB to load.
"""
_MAX_CPU_SECONDS = 300
"""Set by hand, not tuned: 2,000 boxes for each image of VOC 2012 take 5 seconds."""
_MAX_NAMED = 5
"""Images that an error names; set by hand, so that it stays one line."""


def read_mat_proposals(path: Path) -> dict[str, BoxArray]:
    """Boxes float32 (P, 4) xyxy, 0-based, max exclusive, of each image's id, from cells of rows y1 x1 y2 x2, 1-based.

    The file is not trusted: SciPy loads it in a child process of limited memory and CPU time, and nothing is unpickled.

    Raises:
        InvalidInput: it is something else, is damaged, or needs more than 1.5 GiB of memory.
        Unavailable: the child process could not be started, or was killed.
    """
    limits = [str(_MAX_MEMORY_BYTES), str(_MAX_CPU_SECONDS)]
    # -P: no module of the working directory is imported; utf8 and ignore: standard error holds only the message
    program = [sys.executable, "-P", "-X", "utf8", "-W", "ignore", "-m", "watchmove.pipeline.detection.mat_loading"]
    # the child imports the modules that this process does; an empty entry would be the working directory
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folder for folder in sys.path if folder)}
    try:
        # a session of its own: a signal to the caller's process group would look like a crash caused by the file
        child = subprocess.run(
            [*program, str(path), *limits],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise Unavailable(f"{path}: no process to load it could be started ({error.strerror}); try again") from error
    _check_end(path, child)
    return proposals_from_bytes(child.stdout, str(path))


def _check_end(path: Path, child: "subprocess.CompletedProcess[bytes]") -> None:
    """Raise what the end of the loading process means; return where it ended well."""
    message = " ".join(child.stderr.decode("utf-8", "replace").split())
    if child.returncode == REFUSED_EXIT_CODE:
        raise InvalidInput(message)
    if child.returncode == -signal.SIGXCPU:
        raise InvalidInput(f"{path}: not loaded in {_MAX_CPU_SECONDS} seconds of CPU time; split it by image set")
    if child.returncode == -signal.SIGKILL:  # the kernel's answer to a machine or container without memory
        raise Unavailable(f"{path}: the process that loads it was killed; give the step more memory")
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        raise InvalidInput(f"{path}: SciPy's reader crashed on it ({name}); it is damaged, fetch it again")
    if child.returncode:
        # a defect of the program, not of the file
        raise RuntimeError(f"{path}: the process that loads it ended with {child.returncode}: {message}")


def need_all(proposals: Mapping[str, BoxArray], image_ids: Iterable[str]) -> dict[str, BoxArray]:
    """The proposals of the given images. Raises InvalidInput, naming the first ones, where some have no entry."""
    wanted = list(image_ids)
    missing = sorted(image_id for image_id in wanted if image_id not in proposals)
    if missing:
        shown = ", ".join(missing[:_MAX_NAMED]) + (", …" if len(missing) > _MAX_NAMED else "")
        raise InvalidInput(f"proposals: none for {len(missing)} of {len(wanted)} images ({shown}); name their file too")
    return {image_id: proposals[image_id] for image_id in wanted}
