"""A copy of a shard without some of its samples."""

import tarfile
from collections.abc import Callable
from pathlib import Path

from watchmove.pipeline.dataset.shard import SamplePlace, index_shard
from watchmove.pipeline.files.atomic import replacing

_END_BLOCKS = 2
"""Empty blocks that end a tar (POSIX.1-1988)."""


def copy_without(path: Path, target: Path, leaves_out: Callable[[SamplePlace], bool]) -> None:
    """Copy a shard to `target`, without the samples for which `leaves_out` returns true.

    The bytes of the other samples stay as they are, in the same order, and the copy is the shard that `write_shard`
    would have written with them alone.

    Raises:
        InvalidInput: the file is not a shard.
        Unavailable: writing failed, for example because the disk is full.
    """
    places = [place for place in index_shard(path) if not leaves_out(place)]
    with path.open("rb") as source, replacing(target) as temporary, temporary.open("wb") as copy:
        for place in places:
            begin, length = place.extent
            source.seek(begin)
            copy.write(source.read(length))
        copy.write(bytes(_END_BLOCKS * tarfile.BLOCKSIZE))
        copy.write(bytes(-copy.tell() % tarfile.RECORDSIZE))
