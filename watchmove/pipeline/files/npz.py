"""Reading .npz files, whose headers only one thread may parse at a time."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.lib.npyio import NpzFile

_PARSING = Lock()
"""NumPy parses an array's header by `ast.literal_eval`, and Python 3.11 counts the depth of all threads' parses in one
number: two at once now and then raise `SystemError: AST constructor recursion depth mismatch`."""


@contextmanager
def open_npz(source: Path | bytes) -> Iterator[NpzFile]:
    """The arrays of a .npz file, given by its path or content; other threads wait until the block ends.

    Nothing is unpickled. Raises what `numpy.load` and reading the arrays raise for a damaged file: ValueError,
    KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error or NotImplementedError (an unknown compression).
    """
    with _PARSING:
        arrays = np.load(io.BytesIO(source) if isinstance(source, bytes) else source, allow_pickle=False)
        if not isinstance(arrays, NpzFile):
            raise ValueError("a single array, where a .npz file is expected")
        with arrays:
            yield arrays
