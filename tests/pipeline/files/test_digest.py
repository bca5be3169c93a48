"""The SHA-256 of a file."""

from pathlib import Path

import pytest

from watchmove.pipeline.files.digest import file_sha256


def test_the_digest_is_that_of_the_published_example(tmp_path: Path) -> None:
    """FIPS 180-2, appendix B.1: the message "abc"."""
    path = tmp_path / "message"
    path.write_bytes(b"abc")

    assert file_sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_missing_file_is_an_error_of_the_operating_system(tmp_path: Path) -> None:
    """Callers say what the file was for."""
    with pytest.raises(FileNotFoundError):
        file_sha256(tmp_path / "nowhere")
