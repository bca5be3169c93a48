"""Reading .npz files, whose headers only one thread may parse at a time."""

import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from tokenize import TokenError

import numpy as np
from numpy.lib.npyio import NpzFile

_PARSING = Lock()
"""NumPy parses an array's header by `ast.literal_eval`, and Python 3.11 counts the depth of all threads' parses in one
number: two at once now and then raise `SystemError: AST constructor recursion depth mismatch`."""

DAMAGED = (
    *(ValueError, KeyError, TypeError, OverflowError, SyntaxError, TokenError),
    *(OSError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    # A flipped bit may say that a file is encrypted, or compressed by an unknown method (NotImplementedError).
    RuntimeError,
    # NumPy allocates what the header says before it reads.
    MemoryError,
)
"""What `open_npz` and reading its arrays raise for a damaged file."""


@contextmanager
def open_npz(source: Path | bytes) -> Iterator[NpzFile]:
    """The arrays of a .npz file, given by its path or content; other threads wait until the block ends.

    Nothing is unpickled. Raises one of DAMAGED, as reading the arrays does, for a damaged file.
    """
    with _PARSING:
        arrays = np.load(io.BytesIO(source) if isinstance(source, bytes) else source, allow_pickle=False)
        if not isinstance(arrays, NpzFile):
            raise ValueError("a single array, where a .npz file is expected")
        with arrays:
            yield arrays
