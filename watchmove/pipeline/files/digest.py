"""The SHA-256 of a file, by which records and checkpoints recognise its content."""

import hashlib
from pathlib import Path


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes as 64 lower-case hexadecimal digits. Raises OSError when reading fails."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
