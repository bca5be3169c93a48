"""Detection files in VOC's form: read, written, and refused with file and line."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.voc.detections import (
    Detection,
    columns_of,
    detection_files,
    read_detection_file,
    read_detections,
    write_detections,
)


def _read(tmp_path: Path, text: str, known: set[str] | None = None) -> list[tuple[str, float, list[float]]]:
    path = tmp_path / "comp4_det_test_cat.txt"
    path.write_text(text)
    columns = read_detection_file(path, known)
    return list(zip(columns.image_ids, columns.scores.tolist(), columns.boxes_xyxy.tolist(), strict=True))


@pytest.mark.parametrize(
    "text",
    [
        "a 0.5 1 2 10 20\nb 1e-3 3.5 4 5 6\n",
        "\n  a  0.5  1 2 10 20  \n\nb 1e-3 3.5 4 5 6",
        "a\t0.5\t1\t2\t10\t20\r\nb\t1e-3\t3.5\t4\t5\t6\r\n",
    ],
)
def test_lines_are_read(tmp_path: Path, text: str) -> None:
    """Boxes become 0-based and max exclusive; blanks, tabs and line ends do not matter."""
    assert _read(tmp_path, text, {"a", "b"}) == [("a", 0.5, [0, 1, 10, 20]), ("b", 0.001, [2.5, 3, 5, 6])]


def test_ids_may_hold_spaces(tmp_path: Path) -> None:
    """Numbers are taken from the end of a line."""
    assert _read(tmp_path, "my image 1 0.5 1 2 10 20\n") == [("my image 1", 0.5, [0, 1, 10, 20])]


def test_empty_file_has_no_detections(tmp_path: Path) -> None:
    """A class may have none."""
    assert _read(tmp_path, "\n") == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a 0.5 1 2 3", "5 fields; a line is"),
        ("a 0.5 1 2 3 x", "not a number: 'x'"),
        ("a 1_0 1 2 3 4", "not a number: '1_0'"),
        ("a 0.5 1 2 3 １０", "not a number: '１０'"),
        ("a 0x1 1 2 3 4", "not a number: '0x1'"),
        ("a 0.5 1 2 1e999 4", "not finite"),
        ("a nan 1 2 3 4", "not finite"),
        ("a 0.5 1 2 inf 4", "not finite"),
        ("a 0.5 10 2 3 4", "ends before it begins"),
        ("a 0.5 1 9 3 4", "ends before it begins"),
        ("c 0.5 1 2 3 4", "image 'c' is not among the images scored"),
        ("a 0.5 1 2 3 4 5", "image 'a 0.5' is not among"),
    ],
)
def test_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    """File, line number and what is wrong, whatever stands around it."""
    with pytest.raises(InvalidInput, match=rf"comp4_det_test_cat\.txt, line 3: .*{message}"):
        _read(tmp_path, f"a 0.5 1 2 10 20\n\n{line}\nb 0.5 1 2 10 20\n", {"a", "b"})


def test_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """A binary file gives a message, not a trace."""
    (tmp_path / "comp4_det_test_cat.txt").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(InvalidInput, match="not UTF-8"):
        read_detection_file(tmp_path / "comp4_det_test_cat.txt")


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    """Classes, order and figures; files of other splits are left alone."""
    detections = {"big_cat": [Detection("b", 0.25, (0.5, 0, 4, 3)), Detection("a", 0.5, (1, 2, 3, 4))], "dog": []}
    write_detections(tmp_path, "test", detections)
    write_detections(tmp_path, "train", {"dog": [Detection("b", 0.1, (0, 0, 1, 1))]})

    assert (tmp_path / "comp4_det_test_big_cat.txt").read_text().splitlines()[1] == (
        "a 0.5 2.000000 3.000000 3.000000 4.000000"
    )
    assert read_detections(tmp_path, "test") == detections
    assert list(detection_files(tmp_path)) == ["test_big_cat", "test_dog", "train_dog"]


def test_scores_that_differ_are_written_as_two(tmp_path: Path) -> None:
    """Neighbours in float32, whose first six decimals agree: a scorer of the files sees no tie."""
    low = np.float32(0.0123456)
    scores = [float(low), float(np.nextafter(low, np.float32(1)))]
    write_detections(tmp_path, "test", {"cat": [Detection("a", score, (0, 0, 1, 1)) for score in scores]})
    read = [one.score for one in read_detections(tmp_path, "test")["cat"]]

    assert read[0] < read[1]
    assert [np.float32(score) for score in read] == [np.float32(score) for score in scores]


@pytest.mark.parametrize(
    "name",
    [
        "comp3_det_test_big_cat.txt",
        "comp4-12345_det_test_big_cat.txt",
        "comp4_7cf60b4d-1c8a-4b5e-9a44-9b7a5c4dfa11_det_test_big_cat.txt",
        "COMP4_DET_test_big_cat.TXT",
    ],
)
def test_names_of_reference_codes_are_read(tmp_path: Path, name: str) -> None:
    """A number or a UUID after the competition, competition 3, and any case; hidden files are passed over."""
    (tmp_path / name).write_text("a 0.5 1 2 10 20\n")
    (tmp_path / f"._{name}").write_bytes(b"\0\5\26\7")

    assert detection_files(tmp_path) == {"test_big_cat": tmp_path / name}


def test_two_files_of_one_class_are_refused(tmp_path: Path) -> None:
    """Neither is taken in silence."""
    for name in ("comp3_det_test_cat.txt", "comp4_det_test_cat.txt"):
        (tmp_path / name).write_text("")

    with pytest.raises(InvalidInput, match=r"comp3_det_test_cat\.txt and comp4_det_test_cat\.txt are of one class"):
        detection_files(tmp_path)


@pytest.mark.parametrize("kind", ["folder", "dangling link"])
def test_what_is_no_file_in_a_files_place_is_refused(tmp_path: Path, kind: str) -> None:
    """A class whose file cannot be read does not score 0."""
    (tmp_path / "comp4_det_test_dog.txt").write_text("")
    path = tmp_path / "comp4_det_test_cat.txt"
    path.mkdir() if kind == "folder" else path.symlink_to(tmp_path / "absent")

    with pytest.raises(InvalidInput, match=r"comp4_det_test_cat\.txt: not a file"):
        detection_files(tmp_path)


@given(
    st.lists(st.sampled_from(["0.5", "1", "-2.5", "1e1", "1_0", "１", "nan", "0x1", " ", "\t", "a", "+3"]), max_size=8)
)
def test_both_ways_of_reading_agree(tmp_path_factory: pytest.TempPathFactory, fields: list[str]) -> None:
    """A line is read or refused in the same way alone and after a line that is read field by field."""
    path = tmp_path_factory.mktemp("det") / "comp4_det_test_cat.txt"
    read = []
    for before in ("", "my id 0.5 1 1 9 9\n"):
        path.write_text(f"{before}{' '.join(fields)}\n")
        try:
            columns = read_detection_file(path)
            read.append((columns.image_ids[-1:], columns.scores[-1:].tolist(), columns.boxes_xyxy[-1:].tolist()))
        except InvalidInput:
            read.append(([], [], []))
    if "".join(fields).strip():
        assert read[0] == read[1]


def test_folder_without_files_is_refused(tmp_path: Path) -> None:
    """A wrong folder is said to be one."""
    with pytest.raises(InvalidInput, match=r"no comp4_det_SPLIT_CLASS\.txt here"):
        detection_files(tmp_path)


def test_no_detections_have_columns_of_no_rows() -> None:
    """Shapes stay as documented when there is nothing."""
    columns = columns_of([])

    assert columns.scores.shape == (0,)
    assert columns.boxes_xyxy.shape == (0, 4)
    assert columns.boxes_xyxy.dtype == np.float64
