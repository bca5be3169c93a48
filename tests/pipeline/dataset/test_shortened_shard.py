"""A copy of a shard without some samples is the shard of the others."""

from pathlib import Path

import pytest

from watchmove.pipeline.dataset.shard import Sample, write_shard
from watchmove.pipeline.dataset.shortened_shard import copy_without


@pytest.mark.parametrize("left_out", [set(), {"a-0"}, {"b-1"}, {"a-0", "c-2"}, {"a-0", "b-1", "c-2"}])
def test_the_copy_is_the_shard_of_the_others(tmp_path: Path, left_out: set[str]) -> None:
    """Byte for byte, also if none or all are left out."""
    samples = [
        Sample(f"{name}-{number}", name.encode() * 700 * number, b"mask", {"video": name, "frame": number})
        for number, name in enumerate("abc")
    ]
    write_shard(tmp_path / "all.tar", samples)
    write_shard(tmp_path / "others.tar", [sample for sample in samples if sample.key not in left_out])
    copy_without(tmp_path / "all.tar", tmp_path / "copy.tar", lambda place: place.key in left_out)

    assert (tmp_path / "copy.tar").read_bytes() == (tmp_path / "others.tar").read_bytes()
