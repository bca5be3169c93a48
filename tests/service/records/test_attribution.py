"""Attribution: one line for each video with frames in the snapshot, and nothing from outside breaks a line."""

import csv
import gzip
from pathlib import Path

import numpy as np

from tests.service.conftest import MakeContext
from tests.service.records.made_up_run import commit_part, planned_videos, row, touch_videos
from tests.service.records.test_attempts import record
from watchmove.service.records.attempts import Attempts
from watchmove.service.records.attribution import COLUMNS, Credits, LicenceCount
from watchmove.service.records.outcomes import Credit, Video, VideoOutcome
from watchmove.service.runner.runner import StepContext
from watchmove.service.steps.gather import gather
from watchmove.service.steps.plan import plan

BY = Credit(
    owner="Ann",
    title="A dog",
    licence="Attribution License",
    licence_url="http://creativecommons.org/licenses/by/2.0/",
    page_url="http://example.org/1",
)
NASTY = Credit(owner="B\tob\n", title="\x1b[31mred\r\n# no comment", licence="Attribution\tLicense", page_url="x")


def credited(video: Video, credit: Credit, outcome: str = "kept") -> VideoOutcome:
    """A video that ended, with its credit."""
    return row(video.model_copy(update={"credit": credit}), outcome)


def lines(path: Path) -> list[dict[str, str]]:
    """What a spreadsheet reads, below the lines that are comments."""
    text = gzip.decompress(path.read_bytes()).decode()
    body = [line for line in text.splitlines() if not line.startswith("#")]
    return list(csv.DictReader(body, dialect="excel-tab", quoting=csv.QUOTE_NONE))


def made(context: StepContext, *credit_of: Credit) -> None:
    """A run with a video for each credit."""
    touch_videos(context, *(f"{number}.mp4" for number in range(len(credit_of))))
    planned = plan(context, "run")
    videos = planned_videos(context, planned, 0)
    rows = tuple(credited(video, credit) for video, credit in zip(videos, credit_of, strict=True))
    commit_part(context, planned, (0, 0), rows, 1000.0, 1.0)


def test_every_video_with_frames_is_credited(make_context: MakeContext, tmp_path: Path) -> None:
    """In the snapshot's own file, and by licence in its record; who is silent counts as unknown."""
    context = make_context()
    made(context, BY, BY, Credit())
    dataset = gather(context, "run")
    found = lines(tmp_path / "store" / dataset.attribution_key)

    assert [(one["title"], one["owner"], one["licence"], one["frames"]) for one in found] == [
        ("A dog", "Ann", "Attribution License", "3"),
        ("A dog", "Ann", "Attribution License", "3"),
        ("", "", "unknown", "3"),
    ]
    assert found[0]["page"] == "http://example.org/1"
    assert found[0]["licence_url"] == "http://creativecommons.org/licenses/by/2.0/"
    assert [one["video_key"] for one in found] == ["0.mp4", "1.mp4", "2.mp4"]
    assert dataset.licences == {
        "Attribution License": LicenceCount(videos=2, frames=6),
        "unknown": LicenceCount(videos=1, frames=3),
    }


def test_the_head_says_what_it_is(make_context: MakeContext, tmp_path: Path) -> None:
    """Whoever finds the file alone knows the dataset and what to do."""
    context = make_context()
    made(context, BY)
    dataset = gather(context, "run")
    head = gzip.decompress((tmp_path / "store" / dataset.attribution_key).read_bytes()).decode().splitlines()[:5]

    assert dataset.dataset in head[0]
    assert all(line.startswith("#") for line in head[:4])
    assert head[4].split("\t") == list(COLUMNS)


def test_words_from_outside_stay_in_their_column(tmp_path: Path) -> None:
    """Tabs, line breaks and what a terminal would obey become spaces; a video has one line whatever it is called."""
    video = Video(id="0" * 16, key="a\tb\n.mp4", etag="", size_bytes=1)
    spilled, path = Credits(tmp_path), tmp_path / "file"
    spilled.add(record(1.0, credited(video, NASTY)))
    spilled.write(path, "d", np.ones(1, bool))
    [one] = lines(path)

    assert one["title"] == "[31mred # no comment"
    assert (one["owner"], one["licence"], one["video_key"]) == ("B ob", "Attribution License", "a b .mp4")


def test_the_credit_is_of_the_attempt_that_counts_and_the_bytes_are_the_same(tmp_path: Path) -> None:
    """Rows are numbered as the table numbers them, those without frames too."""
    videos = [Video(id=f"{number:016x}", key=f"{number}.mp4", etag="", size_bytes=1) for number in range(3)]
    other = BY.model_copy(update={"owner": "Later"})
    records = [
        record(1.0, credited(videos[0], BY, "missing"), credited(videos[1], BY)),
        record(2.0, credited(videos[1], other), credited(videos[2], BY, "rejected")),
        record(3.0, credited(videos[0], other)),
    ]
    written = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        attempts, spilled = Attempts(), Credits(folder)
        for number, one in enumerate(records):
            attempts.add(str(number), one)
            spilled.add(one)
        spilled.write(folder / "file", "d", attempts.table().counting)
        written.append(folder / "file")

    assert [(one["owner"], one["video_key"]) for one in lines(written[0])] == [("Later", "1.mp4"), ("Later", "0.mp4")]
    assert written[0].read_bytes() == written[1].read_bytes()
