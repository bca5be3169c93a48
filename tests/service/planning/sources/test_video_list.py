"""Lists of one's own: CSV and JSON lines say the same, and a row that is wrong is named."""

import json

import pytest

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.planning.sources.listed import ListedVideo, Tally
from watchmove.service.planning.sources.video_list import csv_rows, json_rows, videos_in
from watchmove.service.records.outcomes import Credit

STORE = "s3://clips/all"


def read_csv(text: str | bytes, tally: Tally | None = None) -> list[ListedVideo]:
    """The videos of a CSV file; without a tally, every row must be sound."""
    own = tally or Tally()
    rows = csv_rows(iter([text.encode() if isinstance(text, str) else text]), "list.csv", own)
    found = list(videos_in(rows, "list.csv", STORE, own))
    assert tally is not None or own.rows_malformed == 0
    return found


def read_json(*rows: object, tally: Tally | None = None) -> list[ListedVideo]:
    """The videos of a file of JSON lines; a text is a line as it is."""
    own = tally or Tally()
    lines = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    found = list(videos_in(json_rows(iter([lines.encode()]), "list.jsonl", own), "list.jsonl", STORE, own))
    assert tally is not None or own.rows_malformed == 0
    return found


FULL = ListedVideo(
    "a/b c.mp4",
    1000,
    "abc",
    12.5,
    Credit(owner="Ann, the first", licence="by", title='say "hi"', taken="2011", longitude=24.9, latitude=-1.5),
)


def test_both_forms_say_the_same() -> None:
    """Columns in any order, some missing, some that are not ours; a key or a whole URI."""
    text = (
        "\ufeffetag,uri,size,duration_seconds,owner,licence,title,taken,longitude,latitude,mood\r\n"
        '"""abc""",s3://clips/all/a/b c.mp4,1000,12.5,"Ann, the first",by,"say ""hi""",2011,24.9,-1.5,good\r\n'
        ",plain.mp4,,,,,,,,,\r\n\r\n"
    )
    row = FULL.credit.model_dump(exclude_defaults=True) | {"uri": "a/b c.mp4", "size": 1000, "etag": "abc"}

    assert read_csv(text) == [FULL, ListedVideo("plain.mp4")]
    assert read_json(row | {"duration_seconds": 12.5, "taken": 2011}, "", {"uri": "plain.mp4", "owner": None}) == [
        FULL,
        ListedVideo("plain.mp4"),
    ]


def test_a_complete_uri_can_have_empty_parts() -> None:
    """They are part of a key in S3."""
    assert read_csv(f"uri\n{STORE}//a//b.mp4\n") == [ListedVideo("/a//b.mp4")]


def test_a_uri_in_another_store_is_told_at_once() -> None:
    """A run reads one store: this is a mistake in the settings and not in a row."""
    others = ("file:///a.mp4", "https://clips/all/a.mp4", "S3://clips/all/a.mp4", "gs://clips/all/a.mp4")
    for uri in ("s3://others/all/a.mp4", "s3://clips/alles/a.mp4", *others):
        with pytest.raises(InvalidInput, match=rf"list.csv line 3: {uri} is not below videos \({STORE}\)"):
            read_csv(f"uri\na.mp4\n{uri}\n")


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"uri": "../a.mp4"}, "key '../a.mp4': would leave its store"),
        ({"uri": "/etc/passwd"}, "key '/etc/passwd': would leave its store"),
        ({"uri": f"{STORE}/x/../../a.mp4"}, "key 'x/../../a.mp4': would leave its store"),
        ({"uri": ""}, "uri: Field required"),
        ({"uri": "a.mp4", "size": "-1"}, "size: Input should be greater than or equal to 0"),
        ({"uri": "a.mp4", "size": str(2**63)}, "size: Input should be less than 9223372036854775808"),
        ({"uri": "a.mp4", "duration_seconds": "1e308"}, "duration_seconds: Input should be less than or equal to"),
        ({"uri": "a.mp4", "size": "many"}, "size: Value error, not a number: 'many'"),
        ({"uri": "a.mp4", "duration_seconds": "inf"}, "duration_seconds: Input should be a finite number"),
        ({"uri": "a.mp4", "size": "1" + "0" * 19}, "size: Input should be less than"),
        ({"uri": "a.mp4", "duration_seconds": "1e300"}, "duration_seconds: Input should be less than"),
        ({"uri": "a.mp4", "latitude": "91"}, "latitude: Input should be less than or equal to 90"),
        ({"uri": "a.mp4", "size": "1_0"}, "size: Value error, not a number: '1_0'"),
        ({"uri": "a.mp4", "duration_seconds": "１０"}, "duration_seconds: Value error, not a number: '１０'"),
        ({"uri": "a.mp4", "longitude": " 1"}, "longitude: Value error, not a number: ' 1'"),
        ({"uri": "a.mp4", "latitude": "1e999"}, "latitude: Input should be less than or equal to 90"),
        ({"uri": "a.mp4", "etag": "abc"}, "an ETag without a size"),
    ],
)
def test_a_wrong_row_is_named_in_both_forms(columns: dict[str, str], why: str) -> None:
    """Where it stands and what is wrong; the next is read."""
    in_csv, in_json = Tally(), Tally()
    text = ",".join([*columns, "mood"]) + "\n" + ",".join([*columns.values(), "good"]) + "\n"
    sound = ",".join(["sound.mp4" if name == "uri" else "" for name in columns]) + ",\n"

    assert [video.key for video in read_csv(text + sound, in_csv)] == ["sound.mp4"]
    assert [video.key for video in read_json(columns, {"uri": "sound.mp4"}, tally=in_json)] == ["sound.mp4"]
    for tally, where in ((in_csv, "list.csv line 2"), (in_json, "list.jsonl line 1")):
        assert [one.where for one in tally.malformed] == [where]
        assert why in tally.malformed[0].why


def test_text_that_is_not_unicode_costs_its_row() -> None:
    """A CSV file in Latin-1, and half of a pair of surrogates in JSON: neither could be written to a record."""
    tallies = Tally(), Tally()
    videos = read_csv("uri,title,etag,size\na.mp4,Caf\xe9,,\nb.mp4,,\xe9,1\nc.mp4,,,\n".encode("latin-1"), tallies[0])
    rows = (r'{"uri": "a.mp4", "title": "\ud83d"}', r'{"uri": "b.mp4", "etag": "\udc00", "size": 1}', {"uri": "c.mp4"})

    assert videos == read_json(*rows, tally=tallies[1]) == [ListedVideo("c.mp4")]
    for tally in tallies:
        assert [row.why for row in tally.malformed] == ["title: Value error, not UTF-8", "etag: Value error, not UTF-8"]
        assert "".join(row.model_dump_json() for row in tally.malformed)


def test_lines_that_are_no_rows_are_named() -> None:
    """Too many columns, a quote that never ends, bytes that are no UTF-8; no JSON, no object, brackets without end."""
    in_csv, in_json = Tally(), Tally()
    quote = '"' + "x" * 200_000
    found = read_csv(b"uri,owner\na.mp4,b,c\n\xff.mp4,b\nsound.mp4,b\n" + quote.encode() + b"\nlast.mp4,b\n", in_csv)
    read_json('{"uri"', "[1]", "[" * 100_000, "7", tally=in_json)

    assert [video.key for video in found] == ["sound.mp4", "last.mp4"]
    assert [one.where.rpartition(" ")[2] for one in in_csv.malformed] == ["2", "3", "5"]
    assert [one.where.rpartition(" ")[2] for one in in_json.malformed] == ["1", "2", "3", "4"]
    assert all(one.model_dump_json() for one in (*in_csv.malformed, *in_json.malformed))


def test_a_csv_file_without_names_is_refused() -> None:
    """The line says which columns there may be."""
    for text in ("a.mp4\nb.mp4\n", ""):
        with pytest.raises(InvalidInput, match=r"names no column `uri`; the columns known are uri, size, etag, owner"):
            read_csv(text)


def test_a_csv_file_that_names_a_column_twice_is_refused() -> None:
    """Which of the two is meant cannot be known; columns that are not read may have any names."""
    with pytest.raises(InvalidInput, match=r"list\.csv: the first line names the column `uri` more than once"):
        read_csv("uri,title,uri\na.mp4,A,b.mp4\n")

    assert read_csv("uri,note,note\na.mp4,x,y\n") == [ListedVideo("a.mp4")]


def test_a_csv_file_that_begins_with_an_endless_field_is_refused() -> None:
    """A quote that is never closed in the first line gives one line, as in any other."""
    with pytest.raises(InvalidInput, match="the first line is no line of CSV"):
        read_csv('"' + "x" * 200_000 + "\n")
