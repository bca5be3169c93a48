"""The file that proposals of many images are kept in."""

import numpy as np
import pytest

from watchmove.pipeline.detection.proposal_files import proposals_from_bytes, proposals_to_bytes
from watchmove.pipeline.errors import InvalidInput


def test_proposals_survive_being_written() -> None:
    """Ids, order, and boxes come back, also of an image that has none."""
    proposals = {"b é": np.array([[0, 1, 2.5, 3]], np.float32), "a": np.zeros((0, 4), np.float32)}
    read = proposals_from_bytes(proposals_to_bytes(proposals))

    assert list(read) == ["b é", "a"]
    np.testing.assert_array_equal(read["b é"], proposals["b é"])
    assert read["a"].shape == (0, 4)


def test_no_proposals_at_all_survive_being_written() -> None:
    """A set without images is a file like any other."""
    assert proposals_from_bytes(proposals_to_bytes({})) == {}


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 broken"])
def test_another_file_is_refused_by_name(content: bytes) -> None:
    """What is no proposals file is InvalidInput and says which file it was."""
    with pytest.raises(InvalidInput, match=r"cache/x\.npz"):
        proposals_from_bytes(content, "cache/x.npz")


@pytest.mark.parametrize(("entry", "place", "value"), [(b"PK\x01\x02", 10, b"\x63"), (b"PK\x03\x04", 63, b"\xff" * 12)])
def test_a_damaged_file_is_refused_by_name(entry: bytes, place: int, value: bytes) -> None:
    """Two finds of the fuzzer: an unknown method of compression, and compressed data that is none."""
    content = bytearray(proposals_to_bytes({"a": np.ones((3, 4), np.float32)}))
    start = content.index(entry) + place
    content[start : start + len(value)] = value
    with pytest.raises(InvalidInput, match=r"a\.npz"):
        proposals_from_bytes(bytes(content), "a.npz")
