"""Files that are there whole or not at all, also when the process is stopped in the middle of writing one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.errors import Unavailable


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, of the same suffix, that takes its place when the block ends without error.

    Makes the folder where it is missing. Raises Unavailable where the disk refuses.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise Unavailable(f"{path}: could not be written ({error.strerror}); check the folder and the disk") from error
    finally:
        with suppress(OSError):  # the error above, if any, says more
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file at once. Raises Unavailable where the disk refuses."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)
