"""VOC folders: what VOC's own files and other tools' look like, and what comes back from a folder written here."""

from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.voc.annotations import VocImage, VocObject, read_voc, split_names, write_split, write_voc_image

SIZE = "<size><width>50</width><height>40</height><depth>3</depth></size>"
BOX = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>10</xmax><ymax>20</ymax></bndbox>"


def _read(tmp_path: Path, xml: str) -> VocImage:
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "a.xml").write_text(xml)
    return read_voc(tmp_path, None)[0]


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        pytest.param(
            f"<name>cat</name><difficult>1</difficult>{BOX}", VocObject("cat", (0, 1, 10, 20), True), id="whole"
        ),
        pytest.param(f"<name>cat</name>{BOX}", VocObject("cat", (0, 1, 10, 20)), id="difficult left out"),
        pytest.param(f"{BOX}<difficult>0</difficult><name> cat </name>", VocObject("cat", (0, 1, 10, 20)), id="order"),
        pytest.param(
            "<name>cat</name><bndbox><ymax>20</ymax><xmax>10.6</xmax><ymin>2</ymin><xmin>1.5</xmin></bndbox>",
            VocObject("cat", (0.5, 1, 10.6, 20)),
            id="fractions and another order of corners",
        ),
        pytest.param(
            "<name>cat</name><part><name>head</name><bndbox><xmin>5</xmin><ymin>5</ymin><xmax>6</xmax>"
            f"<ymax>6</ymax></bndbox></part>{BOX}",
            VocObject("cat", (0, 1, 10, 20)),
            id="a part before the object's own box",
        ),
        pytest.param(
            "<name>cat</name><bndbox><xmin>3</xmin><ymin>3</ymin><xmax>3</xmax><ymax>3</ymax></bndbox>",
            VocObject("cat", (2, 2, 3, 3)),
            id="one pixel",
        ),
    ],
)
def test_object_as_tools_write_it(tmp_path: Path, inside: str, expected: VocObject) -> None:
    """Left out, in another order, with parts: the same object, its box 0-based and max exclusive."""
    image = _read(tmp_path, f"<annotation><filename>other.png</filename>{SIZE}<object>{inside}</object></annotation>")

    assert image.objects == (expected,)
    assert (image.image_id, image.width, image.height) == ("a", 50, 40)


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        pytest.param("<annotation><object>", "not readable as XML", id="cut off"),
        pytest.param("", "not readable as XML", id="empty"),
        pytest.param('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "not readable as XML", id="entity"),
        pytest.param("<html/>", "begins with <html>", id="another document"),
        pytest.param("<annotation><object/></annotation>", "object 1 has no name", id="no name"),
        pytest.param("<annotation><object><name>cat</name></object></annotation>", "has no bndbox", id="no box"),
        pytest.param(
            f"<annotation><object><name>cat</name>{BOX.replace('>20<', '>x<')}</object></annotation>",
            "ymax is 'x'",
            id="no number",
        ),
        pytest.param(
            f"<annotation><object><name>cat</name>{BOX.replace('>20<', '>1e39<')}</object></annotation>",
            "is in no image",
            id="a corner beyond float32",
        ),
        pytest.param(
            f"<annotation><object><name>cat</name>{BOX.replace('>20<', '>nan<')}</object></annotation>",
            "is no box",
            id="not a number",
        ),
        pytest.param(
            f"<annotation><object><name>cat</name>{BOX.replace('>10<', '>0<')}</object></annotation>",
            "is no box; give min before max",
            id="turned round",
        ),
        pytest.param(
            f"<annotation><object><name>cat</name><difficult>7</difficult>{BOX}</object></annotation>",
            "difficult is '7'",
            id="difficult 7",
        ),
        *(
            pytest.param(
                f"<annotation><object><name>{name}</name>{BOX}</object></annotation>", "files are named by it", id=label
            )
            for label, name in (("a path", "../../cat"), ("two lines", "big\ncat"), ("a long name", "c" * 61))
        ),
    ],
)
def test_what_cannot_be_understood_is_refused(tmp_path: Path, xml: str, message: str) -> None:
    """The message names the file and what is wrong in it."""
    with pytest.raises(InvalidInput, match=rf"a\.xml.*{message}"):
        _read(tmp_path, xml)


def test_missing_size_comes_from_the_picture(tmp_path: Path) -> None:
    """An annotation without a size has the picture's, beside it or in JPEGImages, and 0 where there is no picture."""
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / "Annotations").mkdir()
    for name in "ab":
        (tmp_path / "Annotations" / f"{name}.xml").write_text("<annotation/>")
    cv2.imwrite(str(tmp_path / "JPEGImages" / "a.png"), np.zeros((30, 44, 3), np.uint8))
    with_picture, without = read_voc(tmp_path, None)

    assert (with_picture.width, with_picture.height) == (44, 30)
    assert with_picture.path.name == "a.png"
    assert (without.width, without.height) == (0, 0)
    assert without.path == tmp_path / "JPEGImages" / "b.jpg"


@pytest.mark.parametrize("width", ["", "wide", "0", "nan", "1e999"])
def test_a_size_that_is_none_comes_from_the_picture_as_stored(tmp_path: Path, width: str) -> None:
    """Whatever stands in its place; a picture that EXIF says to turn has the size in which its boxes are."""
    (tmp_path / "a.xml").write_text(
        f"<annotation><size><width>{width}</width><height>9</height></size></annotation>", encoding="utf-8"
    )
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    PIL.Image.new("RGB", (44, 30)).save(tmp_path / "a.jpg", exif=exif)

    assert [(image.width, image.height) for image in read_voc(tmp_path, None)] == [(44, 30)]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    """Objects, sizes, order of the list and, nearly, pixels; names that XML would trip over too."""
    image = np.full((40, 50, 3), (200, 30, 60), np.uint8)
    objects = (VocObject("cat & <dog>", (0, 1, 50, 40), True), VocObject("owl", (3, 4, 5, 6)))
    written = [write_voc_image(tmp_path, name, image, objects) for name in ("b", "a")]
    write_split(tmp_path, "test", ["b", "a"])

    picture = np.asarray(cv2.imread(str(written[0].path)), np.int64)[..., ::-1]

    assert read_voc(tmp_path, "test") == tuple(written)
    assert split_names(tmp_path) == ("test",)
    assert np.abs(picture - image).max() < 8


@pytest.mark.parametrize("text", ["a\nb\n", "\n a \n\nb\n", "a  1\nb -1\n", "a 0\r\nb  1\r\n", "a\nb\na\n"])
def test_lists_as_voc_writes_them(tmp_path: Path, text: str) -> None:
    """Blank lines, a class's 1, 0 and -1, and ids listed twice: the same two images."""
    for name in "abc":
        write_voc_image(tmp_path, name, np.zeros((4, 4, 3), np.uint8), [])
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "cat_train.txt").write_text(text)

    assert [image.image_id for image in read_voc(tmp_path, "cat_train")] == ["a", "b"]


def test_missing_folders_lists_and_annotations_are_named(tmp_path: Path) -> None:
    """Each has its message: no annotations, no such list, an empty list, a listed image without annotation."""
    with pytest.raises(InvalidInput, match=r"no Annotations/\*.xml"):
        read_voc(tmp_path / "nowhere", None)
    write_split(tmp_path, "train", ["a"])
    write_split(tmp_path, "empty", [])
    with pytest.raises(InvalidInput, match="lists there: empty, train"):
        read_voc(tmp_path, "test")
    with pytest.raises(InvalidInput, match="lists no image"):
        read_voc(tmp_path, "empty")
    with pytest.raises(InvalidInput, match=r"a\.xml: no such annotation"):
        read_voc(tmp_path, "train")


def test_real_annotations_without_pictures(test_data: Path) -> None:
    """A plain folder of real VOC files reads as it stands, with sizes and boxes within them."""
    images = read_voc(test_data / "voc" / "toyexample" / "gts_vocpascal_format", None)
    objects = [(image, one) for image in images for one in image.objects]

    assert len(images) == 10
    assert len(objects) > 8
    assert all(0 <= one.box_xyxy[0] < one.box_xyxy[2] <= image.width for image, one in objects)
