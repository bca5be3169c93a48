"""Damaged and strange inputs of the readers of everything but video: they are read, or refused in one line."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.reader_inputs import READERS, check_reader, read_in_folder, sound_input
from tests.fuzz.videos import Find

SEEDS = range(150)
"""Inputs of each reader that the tests try, in ten seconds."""

SLOW_SEEDS = range(4)
"""Inputs of the readers that load large files or start a process."""

SLOW = ("weights", "proposals-mat")

NUMBERS = st.one_of(
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(["", "1_0", "１", "٣", "nan", "-inf", "1e999", "0x10", " 7", "1e", "1,5", "+-1", "9" * 400]),
)
"""Numbers as text, and what only looks like one."""

WORDS = st.text(st.characters(codec="utf-8"), max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)


def check(name: str, content: bytes) -> None:
    """Read an input in a folder of its own."""
    with TemporaryDirectory() as folder:
        read_in_folder(name, content, Path(folder))


@pytest.mark.parametrize("name", READERS)
def test_a_sound_input_is_read(name: str, tmp_path: Path) -> None:
    """Without it, the damaged inputs could be refused for another fault."""
    assert read_in_folder(name, sound_input(name, 0), tmp_path) == "read"


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_input_is_read_or_refused_in_one_line(name: str) -> None:
    """No damage leads to another exception than the one that names the place, or to a number that is not finite."""
    for seed in SLOW_SEEDS if name in SLOW else SEEDS:
        with TemporaryDirectory() as folder:
            try:
                check_reader(name, seed, Path(folder))
            except Find as find:
                raise Find(
                    f"{name}, seed {seed}: {find}; repeat it with: make fuzz FORMAT={name} SEED={seed}"
                ) from find


@given(name=WORDS, box=st.lists(NUMBERS, min_size=4, max_size=4), difficult=NUMBERS, size=st.tuples(NUMBERS, NUMBERS))
def test_any_annotation_is_read_or_refused(name: str, box: list[str], difficult: str, size: tuple[str, str]) -> None:
    """Names and numbers of an annotation may be anything, and so may the XML that they make."""
    corners = "".join(
        f"<{tag}>{value}</{tag}>" for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    check(
        "voc-annotation",
        f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size><object><name>{name}</name>"
        f"<difficult>{difficult}</difficult><bndbox>{corners}</bndbox></object></annotation>".encode(),
    )


@given(
    lines=st.lists(
        st.lists(NUMBERS | st.sampled_from(["a", "b c", "../a", "a.xml", "-1", "1", "\t"]), max_size=4), max_size=4
    )
)
def test_any_list_of_images_is_read_or_refused(lines: list[list[str]]) -> None:
    """No line of a list names an image outside the folder."""
    check("voc-list", "\n".join(" ".join(words) for words in lines).encode())


@given(rows=st.lists(st.tuples(WORDS, st.lists(NUMBERS, max_size=7)), max_size=4))
def test_any_result_file_is_read_or_refused(rows: list[tuple[str, list[str]]]) -> None:
    """Whatever is read of a file of detections is finite."""
    check("voc-detections", "\n".join(" ".join([word, *numbers]) for word, numbers in rows).encode())


@given(
    changes=st.dictionaries(
        st.sampled_from(["id", "image_id", "iscrowd", "bbox", "segmentation", "area"]), JSON, min_size=1
    ),
    in_image=st.booleans(),
)
def test_any_annotated_object_is_read_or_refused(changes: dict[str, Any], in_image: bool) -> None:
    """Any member of an object or an image of COCO's instances may have any value."""
    instances = json.loads(sound_input("coco", 0))
    instances["images" if in_image else "annotations"][1].update(changes)
    check("coco", json.dumps(instances).encode())


@given(
    counts=st.lists(st.integers(-(2**70), 2**70) | st.integers(0, 13000), max_size=6) | st.text(max_size=20),
    size=st.lists(st.integers(-1, 200), max_size=3),
)
def test_any_run_lengths_are_read_or_refused(counts: object, size: list[int]) -> None:
    """Run lengths of any values, packed or not, never reach beyond the image."""
    instances = json.loads(sound_input("coco", 0))
    instances["annotations"][1]["segmentation"] = {"counts": counts, "size": size}
    check("coco", json.dumps(instances).encode())


@given(polygons=st.lists(st.lists(st.floats(-1e300, 1e300) | st.integers(-300, 300), max_size=10), max_size=3))
def test_any_polygons_are_read_or_refused(polygons: list[list[float]]) -> None:
    """Corners may be anywhere, and the mask stays in the image."""
    instances = json.loads(sound_input("coco", 0))
    instances["annotations"][0]["segmentation"] = polygons
    check("coco", json.dumps(instances).encode())


@given(place=st.integers(0, 511), value=st.binary(min_size=1, max_size=12), block=st.integers(0, 8))
def test_any_header_of_a_tar_is_read_or_refused(place: int, value: bytes, block: int) -> None:
    """Any field of a header may hold any bytes, also with a right checksum."""
    content = bytearray(sound_input("tar", 0))
    start = 512 * block
    content[start + place : start + place + len(value)] = value
    total = sum(content[start : start + 148]) + 8 * 32 + sum(content[start + 156 : start + 512])
    content[start + 148 : start + 156] = b"%06o\0 " % total
    check("tar", bytes(content))


@given(content=st.binary(max_size=600), name=st.sampled_from([name for name in READERS if name not in SLOW]))
def test_any_bytes_are_read_or_refused(name: str, content: bytes) -> None:
    """A file of another kind is refused by its reader, in one line."""
    check(name, content)


@given(tree=JSON, name=st.sampled_from(["record", "plan-list", "list-json", "settings", "coco"]))
def test_any_json_is_read_or_refused(name: str, tree: object) -> None:
    """Any JSON in the place of a record, a list, settings or COCO's instances is read or refused."""
    check(name, json.dumps(tree).encode())
