"""One process computes masks for all videos: the same ones, with every video still on its own."""

import os
import signal
import time
from collections.abc import Iterator
from multiprocessing.connection import Client
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tests.waiting import poll
from watchmove.pipeline.dataset.shard import read_shard
from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.pipeline.extraction.sampled_video import extract_video
from watchmove.pipeline.masks.choice import shot_segmenter
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.encoder import write_video
from watchmove.pipeline.world.video import moving_square
from watchmove.service.extraction.child import KEPT, Limits, VideoJob
from watchmove.service.extraction.device_client import DeviceClient
from watchmove.service.extraction.device_process import DeviceProcess
from watchmove.service.extraction.shot_messages import ShotHeader
from watchmove.service.extraction.worker import VideoWorkers
from watchmove.service.records.outcomes import Outcome, Video, VideoOutcome

SETTINGS = ExtractionSettings(device="torch-cpu", flow="dis", appearance_units=50)
SQUARE = [np.ascontiguousarray(frame[::2, ::2]) for frame in moving_square((4.0, 0.0), 6).frames]
LIMITS = Limits(timeout_seconds=120, memory_mebibytes=4096, output_mebibytes=64)


@pytest.fixture(scope="module")
def device() -> Iterator[DeviceProcess]:
    """A process at work."""
    with DeviceProcess(SETTINGS) as process:
        yield process


def test_masks_are_those_of_this_process(device: DeviceProcess) -> None:
    """Two windows, some frames of each wanted; and its time at work is counted."""
    windows, wanted = [SQUARE[:4], SQUARE[3:]], [[1, 2], [0]]
    before = device.use()
    found = DeviceClient(device.address)(windows, wanted)
    expected = shot_segmenter(SETTINGS)(windows, wanted)

    assert [len(window) for window in found] == [2, 1]
    for one, other in zip((f for w in found for f in w), (f for w in expected for f in w), strict=True):
        assert np.abs(one.soft_mask - other.soft_mask).max() < 1e-3
        assert np.abs(one.independent_motion - other.independent_motion).max() < 1e-3
        assert one.flow_consistency == pytest.approx(other.flow_consistency)
    # The time is counted after the masks have left, so a moment later than this process has them.
    assert poll(lambda: device.use().busy_seconds > before.busy_seconds, 10)
    assert DeviceClient(device.address)([SQUARE], [[]]) == ((),)


def test_waiting_for_decoders_is_counted(device: DeviceProcess) -> None:
    """Half a second without a shot is half a second of waiting."""
    client = DeviceClient(device.address)
    client([SQUARE[:2]], [[0]])
    before = device.use()
    time.sleep(0.5)  # the time itself is what is measured
    client([SQUARE[:2]], [[0]])

    assert device.use().since(before).waiting_seconds >= 0.4


def test_nonsense_costs_its_sender_the_connection(device: DeviceProcess) -> None:
    """Bytes that are no shot, a shot that is never finished, pictures of another size: the others go on."""
    header = ShotHeader(height=60, width=80, lengths=(2,), wanted=((0,),)).model_dump_json().encode()
    for messages in ([b"\x80\x04nonsense"], [header], [header, b"short"], [header, bytes(60 * 80 * 3)]):
        connection = Client(device.address, family="AF_UNIX")
        for message in messages:
            connection.send_bytes(message)
        connection.close()

    assert len(DeviceClient(device.address)([SQUARE[:2]], [[0]])[0]) == 1
    device.check()


@pytest.mark.parametrize(
    "wrong",
    [
        {"lengths": (1,)},
        {"lengths": ()},
        {"wanted": ((2,),)},
        {"wanted": ((0,), (0,))},
        {"height": 2**15, "width": 2**15},
        {"more": 1},
    ],
)
def test_impossible_headers_are_refused(wrong: dict[str, object]) -> None:
    """Before anything is made of them."""
    with pytest.raises(ValidationError):
        ShotHeader.model_validate({"height": 60, "width": 80, "lengths": (2,), "wanted": ((0,),)} | wrong)


def test_a_shot_that_makes_the_code_fail_is_alone(device: DeviceProcess) -> None:
    """Pictures of one pixel cannot be segmented: an error for the one who asked, and the process goes on."""
    client = DeviceClient(device.address)
    with pytest.raises(RuntimeError):
        client([[np.zeros((1, 1, 3), np.uint8)] * 2], [[0]])

    assert len(client([SQUARE[:2]], [[0]])[0]) == 1


def test_a_device_that_is_killed_is_unavailable() -> None:
    """Whoever waits for it is told so, and the parent too."""
    with DeviceProcess(SETTINGS) as process:
        client = DeviceClient(process.address)
        client([SQUARE[:2]], [[0]])
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(Unavailable, match="closed the connection"):
            client([SQUARE[:2]], [[0]])
        # Its connections are closed a moment before it counts as ended, so the first checks may raise nothing.
        with pytest.raises(Unavailable, match="exit code -9"):
            poll(process.check, 10)


def test_no_gpu_is_told_at_the_start() -> None:
    """In one line, before a video is fetched."""
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(InvalidInput, match="torch finds no GPU"), DeviceProcess(ExtractionSettings(device="cuda")):
        pass


def test_several_videos_feed_one_device(device: DeviceProcess, tmp_path: Path) -> None:
    """Two at a time, one of them damaged: the good ones give what one process gives alone."""
    path = tmp_path / "square.mp4"
    write_video(path, moving_square((3, 0), 10).frames, 24.0)
    broken = tmp_path / "broken.mp4"
    broken.write_text("no video\n")
    jobs = []
    for number, source in enumerate((path, broken, path)):
        folder = tmp_path / str(number)
        folder.mkdir()
        jobs.append(VideoJob(Video(id=f"{number:016x}", key=source.name, etag="e", size_bytes=1), source, folder))

    outcomes: dict[str, VideoOutcome] = {}
    with VideoWorkers(SETTINGS, 2, LIMITS, device) as workers:
        waiting = list(jobs)
        while len(outcomes) < len(jobs):
            while waiting and workers.has_room():
                workers.start(waiting.pop(0))
            outcomes |= {job.video.id: outcome for job, outcome in workers.finished(1.0)}

    assert [outcomes[job.video.id].outcome for job in jobs] == [Outcome.KEPT, Outcome.UNREADABLE, Outcome.KEPT]
    expected = [frame.index for frame in extract_video(path, SETTINGS).frames if frame.reject_reason is None]
    for job in (jobs[0], jobs[2]):
        assert [sample.metadata["frame"] for sample in read_shard(job.folder / KEPT)] == expected
