"""Lists of a JSON object as a stream: as the json module reads them, or refused in one line."""

import json
import tracemalloc
from collections.abc import Iterator
from itertools import chain, repeat
from typing import Any

import pytest

from watchmove.pipeline.coco.list_elements import list_elements
from watchmove.pipeline.errors import InvalidInput


def in_pieces(text: str, size: int) -> Iterator[bytes]:
    """The text's bytes, `size` at a time."""
    data = text.encode()
    return (data[at : at + size] for at in range(0, len(data), size))


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_elements_come_as_json_reads_them(size: int) -> None:
    """Wherever pieces end, be it within a number or a letter of two bytes."""
    whole = {"info": {"a": [1]}, "images": [{"id": 12.5, "name": "é€"}, [1, 2]], "none": [], "n": 1234, "ids": [1, 23]}
    found: dict[str, list[Any]] = {}
    for key, element in list_elements(in_pieces(json.dumps(whole, ensure_ascii=False), size), "file"):
        found.setdefault(key, []).append(element)

    assert found == {"images": whole["images"], "ids": [1, 23]}


@pytest.mark.parametrize(
    "text",
    [
        *("", "[1]", "1", '{"a": [1,]}', '{"a": [1', '{"a": [1] "b": 2}', '{"a": [tru]}', '{"a"'),
        *('{"a": [1]} {"a": [2]}', '{"a": [1e999]}', '{"a": [NaN]}'),
    ],
)
def test_what_is_no_json_ends_in_a_line(text: str) -> None:
    """The file is named."""
    with pytest.raises(InvalidInput, match="file: no JSON object of lists"):
        list(list_elements(in_pieces(text, 4), "file"))


@pytest.mark.parametrize("key", ["a", "skipped"])
def test_nesting_without_end_is_refused(key: str) -> None:
    """No recursion error, and no memory for its levels, in a list's element or in a member that is skipped."""
    start = '{"a": [' if key == "a" else '{"skipped": {"x":'

    with pytest.raises(InvalidInput, match="nested more than 64 deep"):
        list(list_elements(iter([start.encode() + b"[" * 100_000]), "file"))


def test_bytes_that_are_not_utf_8_are_refused_in_one_line() -> None:
    """No Unicode error, and no drawing of the place."""
    with pytest.raises(InvalidInput, match=r"^file: .*invalid bytes in UTF8 string.*published$"):
        list(list_elements(iter([b'{"a": ["\xff"]}']), "file"))


@pytest.mark.parametrize("start", ['{"a": ["', '{"a": [[1,"', '{"skipped": "', '{"'])
def test_an_element_longer_than_the_bound_is_refused(start: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a string without end, in a list, in a member that is skipped, or as a key."""
    monkeypatch.setattr("watchmove.pipeline.coco.list_elements.MAX_ELEMENT_BYTES", 2**12)

    with pytest.raises(InvalidInput, match="an element of more than 4096 bytes"):
        list(list_elements(chain([start.encode()], repeat(b"x" * 2**10)), "file"))


def test_many_short_elements_may_exceed_the_bound_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds for each element."""
    monkeypatch.setattr("watchmove.pipeline.coco.list_elements.MAX_ELEMENT_BYTES", 2**12)

    assert len(list(list_elements(in_pieces(json.dumps({"a": [1.5] * 9000, "b": {}}), 2**10), "file"))) == 9000


def test_numbers_keep_their_type_and_a_second_value_of_a_key_counts() -> None:
    """Integers are int and others float, as the json module reads them; two lists of one key follow each other."""
    found = list(list_elements(iter([b'{"a": [1, 1.0, {"x": 1, "x": 2}], "a": [3]} \n']), "file"))

    assert found == [("a", 1), ("a", 1.0), ("a", {"x": 2}), ("a", 3)]
    assert [type(element) for _, element in found] == [int, float, dict, int]


def test_memory_does_not_grow_with_the_list() -> None:
    """Seven megabytes go through less than two."""
    one = json.dumps({"id": 1, "segmentation": [[1.5] * 60]}).encode()
    pieces = iter([b'{"annotations": [', *([one + b","] * 20_000), one + b"]}"])
    tracemalloc.start()
    count = sum(1 for _ in list_elements(pieces, "file"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert count == 20_001
    assert peak < 2 * 2**20
