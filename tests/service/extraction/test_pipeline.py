"""Extraction where the settings ask a GPU to decode the videos, on a machine without one."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.pipeline.video.gpu_stand_in import Fault, GpuStandIn
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.encoder import write_video
from watchmove.pipeline.world.video import moving_square
from watchmove.service.extraction.pipeline import with_usable_hardware

BY_GPU = ExtractionSettings(device="torch-cpu", hardware_decoding=True)


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """Each test is a process of its own, as far as hardware is concerned."""
    with_usable_hardware.cache_clear()
    yield
    with_usable_hardware.cache_clear()


@pytest.mark.parametrize("fault", ["no GPU", "grey"])
def test_a_gpu_that_does_not_decode_is_tried_once(
    fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One warning, with what would do, however often it is asked for."""
    program = GpuStandIn(tmp_path, monkeypatch, fault)
    with structlog.testing.capture_logs() as logs:
        found = [with_usable_hardware(BY_GPU, str(tmp_path)) for _ in range(2)]

    assert [settings.hardware_decoding for settings in found] == [False, False]
    assert [(said["log_level"], said["event"]) for said in logs] == [("warning", "videos are decoded on the CPU")]
    assert "NVIDIA_DRIVER_CAPABILITIES" in logs[0]["remedy"]
    assert program.starts == 1


def test_a_gpu_that_decodes_is_used_without_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings stay as they are."""
    GpuStandIn(tmp_path, monkeypatch)
    with structlog.testing.capture_logs() as logs:
        found = with_usable_hardware(BY_GPU, str(tmp_path))

    assert found == BY_GPU
    assert logs == []


@pytest.mark.parametrize(("fault", "warnings"), [("no GPU", 1), ("", 0)])
def test_all_videos_and_shards_of_a_process_share_the_attempt(
    fault: Fault, warnings: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a GPU, no decoder after the first one is to use it; with one, those of every video are."""
    for folder in ("videos", "bin"):
        (tmp_path / folder).mkdir()
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / "videos" / name, moving_square((3, 0), 10).frames, 24.0)
    program = GpuStandIn(tmp_path / "bin", monkeypatch, fault)
    asked = ("device=torch-cpu", "hardware_decoding=true", "flow=dis", "appearance_units=50")
    places = (
        f"store={(tmp_path / 'store').as_uri()}",
        f"videos={(tmp_path / 'videos').as_uri()}",
        "plan.max_shard_videos=1",
    )
    words = [word for each in (*places, *(f"extract.{word}" for word in asked)) for word in ("--set", each)]

    def watchmove(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "watchmove", *command, "--run", "r", *words],
            capture_output=True,
            text=True,
            env=os.environ | {"COLUMNS": "500"},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    watchmove("plan")
    said = watchmove("extract", "--shard", "0-1")

    assert said.count("videos are decoded on the CPU") == warnings
    # two videos, each with a survey at least
    assert program.starts == 1 if warnings else program.starts >= 3
