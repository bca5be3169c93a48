"""Published proposals in MATLAB's format."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from watchmove.pipeline.detection.mat_loading import load_proposals
from watchmove.pipeline.detection.mat_proposals import need_all, read_mat_proposals
from watchmove.pipeline.errors import InvalidInput


def write_mat(path: Path, boxes: list[np.ndarray], ids: list[str]) -> Path:
    """A file as published: a row of cells of boxes, a column of cells of names."""
    cells, names = np.empty((1, len(boxes)), object), np.empty((len(ids), 1), object)
    cells[0, :] = boxes
    names[:, 0] = ids
    savemat(path, {"boxes": cells, "images": names}, do_compression=True)
    return path


def test_rows_become_boxes_counted_from_zero(tmp_path: Path) -> None:
    """y1 x1 y2 x2 with the last pixel inside, from 1, become x0 y0 x1 y1, max exclusive."""
    boxes = [np.array([[1.0, 2, 30, 40], [5, 6, 7, 8]]), np.array([[10, 20, 10, 20]], np.uint16)]
    found = read_mat_proposals(write_mat(tmp_path / "voc.mat", boxes, ["000005", "2008_000007"]))

    assert list(found) == ["000005", "2008_000007"]
    np.testing.assert_array_equal(found["000005"], [[1, 0, 40, 30], [5, 4, 8, 7]])
    np.testing.assert_array_equal(found["2008_000007"], [[19, 9, 20, 10]])


@pytest.mark.parametrize("rows", [np.ones((2, 3)), np.array([[5.0, 5, 4, 9]]), np.array([[np.nan, 1, 2, 3]])])
def test_what_is_no_box_is_named(tmp_path: Path, rows: np.ndarray) -> None:
    """A wrong shape, a maximum before its minimum, and a value that is no number are refused with the image."""
    path = write_mat(tmp_path / "voc.mat", [rows, np.ones((1, 4))], ["000005", "000007"])

    with pytest.raises(InvalidInput, match="image 000005"):
        load_proposals(path)


def test_an_image_that_is_there_twice_is_named(tmp_path: Path) -> None:
    """The boxes of one of its two cells would be lost."""
    boxes = [np.array([[1.0, 2, 30, 40]]), np.array([[5.0, 6, 7, 8]])]
    path = write_mat(tmp_path / "voc.mat", boxes, ["000005", "000005"])

    with pytest.raises(InvalidInput, match=r"voc\.mat: the image 000005 is there more than once"):
        load_proposals(path)


@pytest.mark.parametrize("content", [b"", b"no matlab file at all", b"\x00" * 200, b"MATLAB 5.0" + b"x" * 400])
def test_anything_else_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    """Untrusted bytes end as one line that names the file."""
    path = tmp_path / "voc.mat"
    path.write_bytes(content)

    with pytest.raises(InvalidInput, match=r"voc\.mat"):
        load_proposals(path)


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.95])
def test_a_file_cut_short_is_refused(tmp_path: Path, cut: float) -> None:
    """Half a download is no proposals."""
    rows = np.random.default_rng(0).integers(1, 50, (200, 4))
    path = write_mat(tmp_path / "voc.mat", [np.sort(rows)[:, [0, 1, 2, 3]]] * 2, ["a", "b"])
    path.write_bytes(path.read_bytes()[: int(cut * path.stat().st_size)])

    with pytest.raises(InvalidInput, match=r"voc\.mat"):
        load_proposals(path)


def test_images_without_proposals_are_named() -> None:
    """Which images lack them is said, the first five by name."""
    with pytest.raises(InvalidInput, match=r"none for 6 of 7 images \(1, 2, 3, 4, 5, …\)"):
        need_all({"0": np.zeros((0, 4), np.float32)}, map(str, range(7)))
