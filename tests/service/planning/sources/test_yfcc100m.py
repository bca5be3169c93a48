"""YFCC100M's metadata: the key rule, both widths of a row, what is malformed, and reading it in pieces."""

import bz2
import gzip
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench import planning
from tests.manifests.documents import step_template
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.bzip2_blocks import unpacked_blocks
from watchmove.service.planning.sources import yfcc100m_sqlite
from watchmove.service.planning.sources.listed import ListedVideo, Tally
from watchmove.service.planning.sources.yfcc100m import hash_of, key_of, videos_in
from watchmove.service.store import text_stream
from watchmove.service.store.text_stream import unpacked

URL = "http://www.flickr.com/videos/29833755@N08/4415516615/play/orig/4d40e1ea19"
HASH = "9558bcf73d75661919557164f9e92"
PHOTO = (
    "6639\t6162540254\t4ccb23d8746b8d9d76ffd603fc7988\t15087210@N00\thenribergius\t2011-09-10 21:13:32.0\t1316432672\t"
    "Nokia+N950\tAround+the+waterpipe\t\thelsinki,party,waterpipe\t\t\t\t\t"
    "http://www.flickr.com/photos/15087210@N00/6162540254/\t"
    "http://farm7.staticflickr.com/6167/6162540254_5d22abd711.jpg\tAttribution-ShareAlike License\t"
    "http://creativecommons.org/licenses/by-sa/2.0/\t6167\t7\t5d22abd711\t44e5acb0f2\tjpg\t0"
)
"""A row as it is published."""


def row(**changes: str) -> str:
    """A video's row: the published photo's, with a video's URL and hash, and some columns changed."""
    columns = dict(zip(NAMES, PHOTO.split("\t"), strict=True))
    return "\t".join((columns | {"hash": HASH, "download": URL, "marker": "1"} | changes).values())


NAMES = [
    "number", "id", "hash", "uid", "nickname", "taken", "uploaded",
    "device", "title", "description", "tags", "machinetags", "longitude", "latitude",
    "accuracy", "page", "download", "licence", "licence_url", "server", "farm",
    "secret", "original", "ext", "marker",
]  # fmt: skip


def without_hash(line: str) -> str:
    """The same row as the first release has it."""
    columns = line.split("\t")
    return "\t".join([columns[1], *columns[3:]])


def read(text: str | bytes, tally: Tally | None = None) -> list[ListedVideo]:
    """The videos of a file; without a tally, every row must be sound."""
    own = tally or Tally()
    found = list(videos_in(iter([text.encode() if isinstance(text, str) else text]), "list", own))
    assert tally is not None or own.rows_malformed == 0
    return found


@pytest.mark.parametrize(
    ("url", "key"),
    [
        (URL, "data/videos/mp4/955/8bc/9558bcf73d75661919557164f9e92.mp4"),
        (
            "http://www.flickr.com/videos/47762553@N00/9419455509/play/orig/8461e78d0d",
            "data/videos/mp4/ef4/ba3/ef4ba3748cd2bc1ba876de76db85db15.mp4",
        ),
        (
            "http://www.flickr.com/videos/28042570@N08/4637976820/play/orig/5b222e6773",
            "data/videos/mp4/5ab/b3d/5abb3db9f6cfab933ae40c5e93a454.mp4",
        ),
    ],
)
def test_the_public_bucket_s_keys(url: str, key: str) -> None:
    """Each byte of the MD5 loses its leading zero, so names are of different length."""
    assert key_of(hash_of(url)) == key


def test_the_published_row_has_the_hash_of_its_own_download() -> None:
    """The rule holds for the hash column that the row was published with."""
    columns = dict(zip(NAMES, PHOTO.split("\t"), strict=True))

    assert hash_of(columns["download"]) == columns["hash"]


def test_only_videos_are_taken_and_both_widths_say_the_same() -> None:
    """What a row says of its video, free text decoded."""
    text = {"title": "Caf%C3%A9+in+the+evening%21", "nickname": "me+%26+you", "longitude": "24.94", "latitude": "-60.2"}
    line = row(**text)
    [video] = read(f"{PHOTO}\n{line}\n{PHOTO}\n")

    assert video.key == key_of(HASH)
    assert (video.size_bytes, video.etag, video.duration_seconds) == (0, "", 0)
    assert video.credit.model_dump() == {
        "owner": "me & you",
        "title": "Café in the evening!",
        "licence": "Attribution-ShareAlike License",
        "licence_url": "http://creativecommons.org/licenses/by-sa/2.0/",
        "page_url": "http://www.flickr.com/photos/15087210@N00/6162540254/",
        "taken": "2011-09-10 21:13:32.0",
        "longitude": 24.94,
        "latitude": -60.2,
    }
    assert read(f"{without_hash(PHOTO)}\n{without_hash(line)}") == [video]


def test_empty_columns_are_not_known() -> None:
    """An owner without a name is shown by the id."""
    [video] = read(row(taken="null", nickname="", title=""))

    assert video.credit.owner == "15087210@N00"
    assert (video.credit.taken, video.credit.title, video.credit.longitude) == ("", "", None)


MALFORMED = [
    (row(hash="../../etc/passwd").encode(), "the hash is not 16 to 32 hex digits"),
    (row(hash="ABCDEF" * 5).encode(), "the hash is not 16 to 32 hex digits"),
    (row(hash="").encode(), "the hash is empty"),
    (row(latitude="91").encode(), "91 is no angle within 90 degrees"),
    (row(longitude="nan").encode(), "nan is no angle within 180 degrees"),
    (row(longitude="east").encode(), "not a number: 'east'"),
    (row(longitude="1_0").encode(), "not a number: '1_0'"),
    (row(longitude="１０").encode(), "not a number: '１０'"),
    (row(marker="2").encode(), "the last column is neither 0 nor 1"),
    (row(marker="").encode(), "the last column is neither 0 nor 1"),
    (without_hash(row(download="")).encode(), "neither a hash nor a download URL"),
    (row().encode() + b"\t1", "26 columns, neither 25 nor 23"),
    (row(title="caf\u00e9").encode("latin-1"), "not UTF-8"),
    (b"1", "1 columns, neither 25 nor 23"),
    (b"0", "1 columns, neither 25 nor 23"),
    (b"", "the last column is neither 0 nor 1"),
]


@pytest.mark.parametrize(("line", "why"), MALFORMED)
@pytest.mark.parametrize("before", [0, 2])
def test_a_malformed_row_is_named_and_the_rest_is_read(line: bytes, why: str, before: int) -> None:
    """Wherever it stands."""
    tally = Tally()
    sound = row().encode() + b"\n"
    found = read(sound * before + line + b"\n" + sound, tally)

    assert len(found) == before + 1
    assert tally.rows_malformed == 1
    assert (tally.malformed[0].where, tally.malformed[0].why) == (f"list line {before + 1}", why)


WHOLE = "\n".join([PHOTO, row(), "bad\t1", PHOTO, row(hash=HASH[::-1]), ""]).encode()


@given(cuts=st.lists(st.integers(0, len(WHOLE)), max_size=8).map(sorted), windows_ends=st.booleans())
def test_pieces_may_end_anywhere(cuts: list[int], windows_ends: bool) -> None:
    """Inside a row, inside a marker, on a line's end: the same videos and the same line is malformed."""
    tally = Tally()
    pieces = [WHOLE[a:b] for a, b in zip([0, *cuts], [*cuts, len(WHOLE)], strict=True)]
    if windows_ends:
        pieces = [piece.replace(b"\n", b"\r\n") for piece in pieces]
    found = list(videos_in(iter(pieces), "list", tally))

    assert [video.key for video in found] == [key_of(HASH), key_of(HASH[::-1])]
    assert [one.where for one in tally.malformed] == ["list line 3"]


def test_a_piece_of_one_line_end_is_an_empty_line() -> None:
    """As a file that begins with one, where the first read returns one byte."""
    tally = Tally()
    found = list(videos_in(iter([b"\n", row().encode() + b"\n"]), "list", tally))

    assert [video.key for video in found] == [key_of(HASH)]
    assert [one.where for one in tally.malformed] == ["list line 1"]


def test_another_kind_of_file_is_refused() -> None:
    """It is not read to its end with every row malformed."""
    with pytest.raises(InvalidInput, match=r"rows are malformed; .*line 1: .*; name YFCC100M's metadata file"):
        read("a,b,c\n" * 20_000, Tally())


def test_a_file_without_lines_is_refused() -> None:
    """Memory does not fill while an end of line is looked for."""
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(1000):
            taken += 1
            yield bytes(2**18)

    with pytest.raises(InvalidInput, match="a line of more than"):
        list(videos_in(endless(), "list", Tally()))
    assert taken < 10


@pytest.mark.parametrize(("suffix", "pack"), [(".bz2", bz2.compress), (".gz", gzip.compress)])
def test_packed_files_are_unpacked_as_they_come(suffix: str, pack: type[bytes]) -> None:
    """Packed in several streams one after another, as parallel packers do; cut or damaged, it is refused."""
    packed = pack(WHOLE) + pack(WHOLE)
    pieces = [packed[at : at + 7] for at in range(0, len(packed), 7)]

    assert b"".join(unpacked(lambda: iter(pieces), f"list{suffix}")) == WHOLE + WHOLE
    with pytest.raises(InvalidInput, match="ends too early"):
        list(unpacked(lambda: iter([packed[:-3]]), f"list{suffix}"))
    with pytest.raises(InvalidInput, match="damaged"):
        list(unpacked(lambda: iter([b"x" + packed]), f"list{suffix}"))


def test_where_blocks_cannot_be_told_apart_the_file_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first bits of a block occur within another by chance; what has been given is not given twice."""
    packed, opened = bz2.compress(WHOLE * 2000, 1), 0

    def after_one(pieces: Iterator[bytes]) -> Iterator[bytes]:
        yield next(unpacked_blocks(pieces))
        raise OSError("Invalid data stream")

    def pieces() -> Iterator[bytes]:
        nonlocal opened
        opened += 1
        return iter([packed])

    monkeypatch.setattr(text_stream, "unpacked_blocks", after_one)

    assert b"".join(unpacked(pieces, "list.bz2")) == WHOLE * 2000
    assert opened == 2


def test_a_packed_file_that_swells_comes_in_pieces() -> None:
    """A hundred mebibytes of zeros take less than a hundred bytes; they are never in memory at once."""
    pieces = unpacked(lambda: iter([bz2.compress(bytes(100 * 2**20))]), "list.bz2")

    assert max(len(piece) for piece in pieces) <= 2**20


SQLITE_COLUMNS = [
    "photoid", "uid", "unickname", "datetaken", "dateuploaded", "capturedevice", "title",
    "description", "usertags", "machinetags", "longitude", "latitude", "accuracy", "pageurl",
    "downloadurl", "licensename", "licenseurl", "serverid", "farmid", "secret", "secretoriginal",
    "ext", "marker",
]  # fmt: skip


def sqlite_file(path: Path, *rows: str, columns: tuple[str, ...] = tuple(SQLITE_COLUMNS)) -> Path:
    """A metadata file in SQLite's form."""
    database = sqlite3.connect(path)
    database.execute(f"CREATE TABLE yfcc100m_dataset ({', '.join(columns)})")
    marks = ", ".join("?" * len(columns))
    for line in rows:
        values = [value or None for value in without_hash(line).split("\t")]
        database.execute(f"INSERT INTO yfcc100m_dataset VALUES ({marks})", [*values[:-1], int(values[-1] or 0)])
    database.commit()
    database.close()
    return path


def test_the_sqlite_form_says_the_same(tmp_path: Path) -> None:
    """Columns go by their names; the hash is made of the download URL."""
    line = row(longitude="24.94", latitude="-60.2")
    path = sqlite_file(tmp_path / "odd ?#% name.sql", PHOTO, line, row(latitude="91"))
    tally = Tally()

    assert list(yfcc100m_sqlite.videos_in(path, tally)) == read(line)
    assert [(one.where, one.why) for one in tally.malformed] == [(f"{path} row 3", "91 is no angle within 90 degrees")]


def test_what_is_no_such_sqlite_file_is_refused(tmp_path: Path) -> None:
    """Another file, none at all, another table: one line each, and nothing is made."""
    (tmp_path / "text").write_text("text" * 1000)
    other = sqlite_file(tmp_path / "other.sql", columns=("id", "marker"))
    for path, words in ((tmp_path / "text", "not a database"), (tmp_path / "absent", "unable to open"), (other, "uid")):
        with pytest.raises(InvalidInput, match=words):
            list(yfcc100m_sqlite.videos_in(path, Tally()))
    assert not (tmp_path / "absent").exists()


def test_the_whole_list_is_read_within_the_deadline_of_the_plan_pod() -> None:
    """A part of made-up rows is read from a .bz2; the time of 100 million rows is extrapolated for the pod's cores."""
    rows = 50_000
    videos_at = planning.PHOTOS_FOR_A_VIDEO + 1
    text = "".join(planning.row(number, number % videos_at == 0) for number in range(rows)).encode()
    packed, tally = bz2.compress(text), Tally()
    began = time.process_time()
    found = sum(1 for _ in videos_in(unpacked(lambda: iter([packed]), "list.bz2"), "list.bz2", tally))
    seconds = (time.process_time() - began) * 100_000_000 / rows
    template = step_template("plan")
    cores = float(template["container"]["resources"]["limits"]["cpu"])

    assert found == rows / videos_at
    assert seconds / cores < template["activeDeadlineSeconds"]
