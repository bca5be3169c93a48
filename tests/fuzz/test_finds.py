"""Inputs that a long run of the fuzzer found to be handled wrongly, and that no smaller case repeats."""

from pathlib import Path

import pytest

from tests.fuzz.reader_inputs import check_reader, read_in_folder


@pytest.mark.parametrize(
    ("name", "seed"),
    [
        # the message of SQLite quotes a damaged name of a table, which is not UTF-8
        ("yfcc100m-sqlite", 1242),
        ("yfcc100m-sqlite", 1304),
    ],
)
def test_an_earlier_find_is_handled(name: str, seed: int, tmp_path: Path) -> None:
    """The input is read, or refused in one line."""
    assert check_reader(name, seed, tmp_path) == "refused"


def test_an_id_that_is_longer_than_a_file_name_is_refused(tmp_path: Path) -> None:
    """hypothesis found that a line of 400 characters in a list of images ended the command as a bug of its own."""
    assert read_in_folder("voc-list", b"9" * 400, tmp_path) == "refused"
