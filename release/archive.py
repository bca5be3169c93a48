"""Archives whose bytes depend on nothing but names, contents and one time."""

import gzip
import io
import tarfile
from collections.abc import Mapping


def archive(files: Mapping[str, str], seconds: int) -> bytes:
    """A .tar.gz of texts by their paths, sorted, owned by nobody, and all of one time in seconds since 1970."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(files):
            content = files[name].encode()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime, entry.mode = len(content), seconds, 0o644
            tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), mtime=seconds)
