"""Lists of images and their files, as class lists, editors, cameras and other systems write them."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.voc.annotations import read_image, read_voc
from watchmove.pipeline.voc.image_lists import listed_ids
from watchmove.pipeline.voc.images import image_path

XML = "<annotation><size><width>9</width><height>8</height></size></annotation>"


def voc_with(root: Path, *ids: str) -> Path:
    """A folder in VOC's layout with annotations of some ids."""
    for image_id in ids:
        path = root / "Annotations" / f"{image_id}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(XML)
    return root


def ids_of(root: Path, text: str | bytes) -> list[str]:
    """The ids that a list names."""
    path = root / "ImageSets" / "Main" / "test.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return listed_ids(root, root / "Annotations", "test")


@pytest.mark.parametrize(
    ("annotated", "text", "wanted"),
    [
        (["my photo", "my photo 1"], "my photo 1\n", ["my photo 1"]),
        (["my photo", "my photo 1"], "my photo 1\nmy photo\n", ["my photo 1", "my photo"]),
        (["my photo"], "my photo  1\n", ["my photo"]),
        (["a", "a 1"], "a  1\na 1 -1\n", ["a", "a 1"]),
        (["a", "b"], "a\t1\nb\t-1\n", ["a", "b"]),
        (["p 1", "p 0"], "p 1\np 0\n", ["p 1", "p 0"]),
        # no class's list, because one line has no flag: an id without annotation is named later
        (["my photo", "b"], "my photo 1\nb\n", ["my photo 1", "b"]),
        # no class's list, which has each image once
        (["p", "p 1"], "p 1\np 0\n", ["p 1", "p 0"]),
        (["a", "b"], b"\xef\xbb\xbfa\r\nb\r\n", ["a", "b"]),
        (["a", "b"], "a\rb\r", ["a", "b"]),
        (["a", "b"], "\fa\v\n\t b\t\n", ["a", "b"]),
        (["a\u2028b", "c\xa01"], "a\u2028b\nc\xa01\n", ["a\u2028b", "c\xa01"]),
    ],
)
def test_a_list_names_its_images(tmp_path: Path, annotated: list[str], text: str | bytes, wanted: list[str]) -> None:
    """Ids may end as lines of a class's list do, and blanks, marks and line ends of other systems do not matter."""
    assert ids_of(voc_with(tmp_path, *annotated), text) == wanted


@pytest.mark.parametrize("text", ["a\n".encode("utf-16"), b"caf\xe9\n"])
def test_a_list_that_is_not_utf8_is_refused(tmp_path: Path, text: bytes) -> None:
    """The message names the list."""
    with pytest.raises(InvalidInput, match=r"test\.txt: not UTF-8 text"):
        ids_of(voc_with(tmp_path, "a"), text)


def test_an_id_whose_annotation_is_missing_is_not_another_image(tmp_path: Path) -> None:
    """`my photo 1` is never read as the image `my photo` in a list that has an id without a flag."""
    voc_with(tmp_path, "my photo", "b")
    ids_of(tmp_path, "my photo 1\nb\n")

    with pytest.raises(InvalidInput, match=r"my photo 1\.xml: no such annotation"):
        read_voc(tmp_path, "test")


@pytest.mark.parametrize("place", ["ImageSets/Main/test.txt", "Annotations/a.xml"])
def test_a_folder_in_a_files_place_is_named(tmp_path: Path, place: str) -> None:
    """A list or an annotation that is a folder."""
    ids_of(voc_with(tmp_path, "a"), "a\n")
    (tmp_path / place).unlink()
    (tmp_path / place).mkdir()

    with pytest.raises(InvalidInput, match=rf"{place}: is a folder"):
        read_voc(tmp_path, "test")


def test_annotations_with_a_capital_suffix_are_read(tmp_path: Path) -> None:
    """With a list and without, next to others."""
    voc_with(tmp_path, "a", "b")
    (tmp_path / "Annotations" / "b.xml").rename(tmp_path / "Annotations" / "b.XML")
    ids_of(tmp_path, "a\nb\n")

    assert [image.image_id for image in read_voc(tmp_path, None)] == ["a", "b"]
    assert [image.image_id for image in read_voc(tmp_path, "test")] == ["a", "b"]


def write_image(path: Path, grey: int) -> Path:
    """A small image file of one grey level."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _, data = cv2.imencode(path.suffix.lower(), np.full((8, 9, 3), grey, np.uint8))
    path.write_bytes(data.tobytes())
    return path


@pytest.mark.parametrize("name", ["a.JPG", "a.jpeg", "a.Png", "a.BMP", "sub/a.TIFF", "a.b.webp", "a.ppm"])
def test_images_of_any_suffix_are_found(tmp_path: Path, name: str) -> None:
    """In any case of its letters, with dots in the id, and in a folder below JPEGImages."""
    path = write_image(tmp_path / "JPEGImages" / name, 100)
    found = image_path(tmp_path, name.rpartition(".")[0])

    assert found == path
    assert np.abs(read_image(found).astype(int) - 100).max() <= 2


def test_the_image_that_voc_reads_is_taken_of_several(tmp_path: Path) -> None:
    """ID.jpg comes before every other file of the id."""
    for name in ("a.JPG", "a.bmp", "a.jpg", "a.png"):
        write_image(tmp_path / "JPEGImages" / name, 100)

    assert read_image(image_path(tmp_path, "a")).shape == (8, 9, 3)
    assert image_path(tmp_path, "a").name == "a.jpg"


def test_two_images_of_one_id_are_refused_when_they_are_read(tmp_path: Path) -> None:
    """Nothing says which of them is annotated."""
    for name in ("a.JPG", "a.png"):
        write_image(tmp_path / "JPEGImages" / name, 100)

    with pytest.raises(InvalidInput, match=r"a\.JPG and a\.png are images of one id"):
        read_image(image_path(tmp_path, "a"))


def test_a_truncated_image_is_refused(tmp_path: Path) -> None:
    """Half of a JPEG is not an image whose lower half is grey."""
    path = tmp_path / "JPEGImages" / "a.jpg"
    write_image(path, 100)
    path.write_bytes(path.read_bytes()[:-20])

    with pytest.raises(InvalidInput, match=r"a\.jpg: cannot be decoded completely"):
        read_image(image_path(tmp_path, "a"))


def test_an_image_that_is_a_folder_is_named(tmp_path: Path) -> None:
    """It cannot be decoded, and the message says why."""
    (tmp_path / "JPEGImages" / "a.jpg").mkdir(parents=True)

    with pytest.raises(InvalidInput, match=r"a\.jpg: is a folder"):
        read_image(image_path(tmp_path, "a"))
