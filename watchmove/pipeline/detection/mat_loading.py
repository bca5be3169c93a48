"""Program that loads proposals from a MATLAB file under limits; `mat_proposals` runs it in a child process.

SciPy's reader allocates what a file claims, and reads out of bounds on some damaged files. In a process of its own
neither can harm the caller. The result is an .npz file on standard output, never a pickle.
"""

import struct
import sys
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from watchmove.pipeline.arrays import BoxArray
from watchmove.pipeline.detection.mat_proposals import REFUSED_EXIT_CODE
from watchmove.pipeline.detection.proposal_files import proposals_to_arrays
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.resource_limits import limit_resources, mapped_bytes

_DAMAGED = (
    *(MatReadError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError),
    *(OSError, EOFError, NameError, zlib.error, struct.error),
)
"""Errors of SciPy's reader for a file that is damaged or holds something else.

NameError is among them, because the reader returns a variable that it leaves unset for an unknown class of array.
"""


def load_proposals(path: Path) -> dict[str, BoxArray]:
    """Boxes float32 (P, 4) xyxy, 0-based, max exclusive, by image id; read in this process, without a limit.

    Raises InvalidInput as `read_mat_proposals` does, MemoryError where the file needs more than there is.
    """
    try:
        loaded = loadmat(path, appendmat=False, variable_names=("boxes", "images"), chars_as_strings=True)
        cells, names = loaded.pop("boxes").ravel(), loaded.pop("images").ravel()
        image_ids = [str(np.asarray(name).item()).strip() for name in names]
    except NotImplementedError as error:
        raise InvalidInput(f"{path}: in MATLAB's format 7.3; save it with -v7") from error
    except _DAMAGED as error:
        raise InvalidInput(f"{path}: no proposals ({error}); it needs cells named boxes and images") from error
    if len(image_ids) != len(cells):
        raise InvalidInput(f"{path}: {len(cells)} cells of boxes for {len(image_ids)} images; each image needs one")
    if twice := sorted(image_id for image_id, count in Counter(image_ids).items() if count > 1):
        raise InvalidInput(f"{path}: the image {twice[0]} is there more than once; give each image one cell of boxes")
    proposals: dict[str, BoxArray] = {}
    for index, image_id in enumerate(image_ids):
        proposals[image_id] = _boxes_xyxy(cells[index], f"{path}: image {image_id}")
        cells[index] = 0  # frees the loaded numbers, so that both copies of all boxes are never in memory together
    return proposals


def _boxes_xyxy(loaded: object, where: str) -> BoxArray:
    """Boxes of one image from its cell; `where` names the image in the error."""
    rows = np.asarray(loaded)
    if rows.size == 0:
        return np.zeros((0, 4), np.float32)
    if rows.ndim != 2 or rows.shape[1] != 4 or rows.dtype.kind not in "fiu":
        raise InvalidInput(f"{where}: boxes of shape {rows.shape} and type {rows.dtype}; give rows of y1 x1 y2 x2")
    # columns (y1, x1, y2, x2), 1-based, last pixel included -> (x0, y0, x1, y1), 0-based, max exclusive
    boxes = rows[:, [1, 0, 3, 2]].astype(np.float32) - np.array([1, 1, 0, 0], np.float32)
    if not np.isfinite(boxes).all() or (boxes[:, 2:] <= boxes[:, :2]).any() or boxes.min() < 0:
        raise InvalidInput(f"{where}: a row is no box; each is y1 x1 y2 x2 in pixels counted from 1")
    return boxes


def main() -> None:
    """Load the file that the first argument names, with the bytes of memory and seconds of CPU time that follow it."""
    path, memory_bytes, cpu_seconds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    # the limit on address space counts what Python and SciPy have mapped; one on files does not apply to a pipe
    limit_resources(mapped_bytes() + memory_bytes, file_bytes=0, cpu_seconds=cpu_seconds)
    try:
        arrays = proposals_to_arrays(load_proposals(path))
    except InvalidInput as error:
        refusal = str(error)
    except MemoryError:
        refusal = f"{path}: needs more than {memory_bytes // 2**20} MiB of memory; split it by image set"
    else:
        np.savez(sys.stdout.buffer, allow_pickle=False, **arrays)  # not compressed: a pipe has no need of it
        return
    sys.stderr.write(refusal)
    sys.exit(REFUSED_EXIT_CODE)


if __name__ == "__main__":
    main()
