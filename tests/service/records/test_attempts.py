"""The rule: the latest attempt that did not fail counts, and where all failed, the latest."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.service.records.made_up_run import row
from watchmove.pipeline.errors import InvalidInput
from watchmove.service.records.attempts import Attempts, AttemptTable, number_of
from watchmove.service.records.outcomes import FAILED, Outcome, ShardRecord, Video, VideoOutcome
from watchmove.service.records.record import Origin

ENDINGS = [
    (["missing", "kept"], 1),
    (["kept", "missing"], 0),
    (["missing", "timed-out"], 1),
    (["kept", "rejected"], 1),
    (["missing", "kept", "timed-out"], 1),
    (["missing", "rejected", "kept", "unreadable"], 2),
]


def record(at: float, *rows: VideoOutcome) -> ShardRecord:
    """A shard's record, written at a time."""
    made_by = Origin(settings={}, settings_hash="", version="", image="", inputs={}, written_at_unix_seconds=at)
    data = {"data_key": "", "data_sha256": "", "data_bytes": 0, "index_key": "", "audit_key": ""}
    return ShardRecord(made_by=made_by, plan="p", shard=0, part=0, seconds=1.0, videos=rows, **data)


def video(number: int) -> Video:
    """A video without a file."""
    return Video(id=f"{number:016x}", key=f"{number}.mp4", etag="", size_bytes=1)


def table_of(*records: ShardRecord) -> AttemptTable:
    """The table of records under keys of their own."""
    attempts = Attempts()
    for number, one in enumerate(records):
        attempts.add(str(number), one)
    return attempts.table()


@pytest.mark.parametrize(("endings", "counts"), ENDINGS)
def test_which_attempt_counts(endings: list[str], counts: int) -> None:
    """Whatever order the records are read in, their times decide."""
    records = [record(float(at), row(video(7), ending)) for at, ending in enumerate(endings)]

    for shuffled in itertools.permutations(records):
        [number] = np.flatnonzero(table_of(*shuffled).counting)
        assert shuffled[number] is records[counts]


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(Outcome)), max_size=30))
def test_one_attempt_of_each_video_counts_and_none_that_failed_before_one_that_did_not(
    tries: list[tuple[int, Outcome]],
) -> None:
    """Against the rule said in plain Python."""
    table = table_of(*(record(at, row(video(number), outcome)) for at, (number, outcome) in enumerate(tries)))
    wanted: dict[int, tuple[bool, int]] = {}
    for at, (number, outcome) in enumerate(tries):
        wanted[number] = max(wanted.get(number, (False, -1)), (outcome not in FAILED, at))

    assert set(np.flatnonzero(table.counting)) == {at for _, at in wanted.values()}


def test_counts_are_those_of_the_rows() -> None:
    """Videos by outcome and reason, frames by reason."""
    rows = (row(video(1), "kept"), row(video(2), "rejected", "no-motion"), row(video(3), "missing"))
    table = table_of(record(1.0, *rows[:2]), record(2.0, *rows[2:]))
    everything = np.ones(3, bool)

    assert table.outcomes(everything) == Counter({("kept", ""): 1, ("rejected", "no-motion"): 1, ("missing", ""): 1})
    assert table.frames(everything) == Counter({("kept", ""): 3, ("rejected", "no-motion"): 13})
    assert table.frames(np.array([True, False, False])) == Counter({("kept", ""): 3, ("rejected", "no-motion"): 5})


def test_an_empty_table_counts_nothing() -> None:
    """Before the first part is committed there is nothing, and that is no error."""
    table = table_of()

    assert not table.counting.any()
    assert table.outcomes(table.counting).total() == 0
    assert table.frames(table.counting).total() == 0


@pytest.mark.parametrize("bad", ["", "xyz", "0" * 15, "0" * 17, "1" + "0" * 16, "-00000000000000f", "00000000000000FF"])
def test_an_id_of_another_form_is_refused(bad: str) -> None:
    """It would not come back from its number as it was."""
    with pytest.raises(InvalidInput, match="not a video's id"):
        number_of(bad, "a record")


def test_a_record_with_an_impossible_count_leaves_nothing_behind() -> None:
    """It is named, and the rows before it and after it stand as they were."""
    attempts = Attempts()
    attempts.add("good", record(1.0, row(video(1), "kept")))
    bad = row(video(2), "kept").model_copy(update={"frames_seen": -1})
    with pytest.raises(InvalidInput, match="out of range"):
        attempts.add("bad", record(2.0, row(video(3), "kept"), bad))
    attempts.add("other", record(3.0, row(video(4), "kept")))

    assert attempts.table().outcomes(np.ones(2, bool)) == Counter({("kept", ""): 2})
    assert {part.key for part in attempts.parts} == {"good", "other"}


def test_hashes_are_those_of_all_records() -> None:
    """The hashes of each row follow those of the row before, and an older table stays as it was."""
    attempts = Attempts()
    first, second = (f"{number:016x}" * 2 for number in (5, 2**64 - 1))
    attempts.add("a", record(1.0, row(video(1), "kept"), with_fingerprint(video(2), first)))
    before = attempts.table()
    attempts.add("b", record(2.0, with_fingerprint(video(3), second)))
    after = attempts.table()

    assert (before.hash_count.tolist(), before.hashes.tolist()) == ([0, 2], [5, 5])
    assert (after.hash_count.tolist(), after.hashes.tolist()) == ([0, 2, 2], [5, 5, 2**64 - 1, 2**64 - 1])


def with_fingerprint(listed: Video, fingerprint: str) -> VideoOutcome:
    """The outcome of a kept video with a fingerprint."""
    return row(listed, "kept").model_copy(update={"fingerprint": fingerprint})
