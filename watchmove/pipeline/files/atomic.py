"""Files that are there whole or not at all, also when the process is stopped in the middle of writing one."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from watchmove.pipeline.errors import InvalidInput, Unavailable

_FOR_GOOD = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, of the same suffix, that takes its place when the block ends without error.

    Makes the folder where it is missing. Raises Unavailable where the disk refuses, InvalidInput where the place does.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        line = f"{path}: could not be written ({error.strerror})"
        if error.errno in _FOR_GOOD:
            raise InvalidInput(f"{line}; name another folder") from error
        raise Unavailable(f"{line}; check the folder and the disk") from error
    finally:
        with suppress(OSError):  # the error above, if any, says more
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file at once. Raises as `replacing` does."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)
