"""Videos that are written and read back, and files that are not videos, each with its reason."""

import gc
import subprocess
import sys
import time
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from numpy.typing import NDArray

from watchmove.pipeline.errors import UNREADABLE_REASONS, InvalidInput, Unavailable, UnreadableVideo
from watchmove.pipeline.video.encoder import write_video
from watchmove.pipeline.video.ffmpeg import VideoReader
from watchmove.pipeline.video.ffmpeg_commands import ffmpeg_executable


def ramps(count: int, height: int = 96, width: int = 128) -> list[NDArray[np.uint8]]:
    """Smooth frames, each brighter than the one before."""
    x = np.linspace(0, 100, width)[None, :, None] + np.linspace(0, 40, height)[:, None, None]
    return [np.broadcast_to(x + 4 * t, (height, width, 3)).astype(np.uint8) for t in range(count)]


@pytest.fixture(scope="module")
def short_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten frames of 128x96 at 5 frames per second."""
    path = tmp_path_factory.mktemp("video") / "ramps.mp4"
    write_video(path, ramps(10), 5)
    return path


def ffmpeg_writes(path: Path, *arguments: str) -> Path:
    """Make a file with ffmpeg."""
    subprocess.run([ffmpeg_executable(), "-loglevel", "error", "-y", *arguments, str(path)], check=True)
    return path


def reason_of(path: Path, **limits: float) -> str:
    """The reason why a file cannot be read."""
    with pytest.raises(UnreadableVideo) as caught, VideoReader(path, **limits) as reader:  # type: ignore[arg-type]
        list(reader)
    return caught.value.reason


def test_frames_come_back_as_written(short_video: Path) -> None:
    """Read at its own size, a video has the written frames, except for the small loss of the codec."""
    with VideoReader(short_video, shorter_side_pixels=96) as reader:
        frames = list(reader)

    assert len(frames) == 10
    assert max(np.abs(a.astype(int) - b).mean() for a, b in zip(frames, ramps(10), strict=True)) < 2


def test_ten_bits_arrive_as_eight(short_video: Path, tmp_path: Path) -> None:
    """A video of ten bits per channel, as from phones, gives 8-bit frames that match those of an 8-bit video."""
    deep = ffmpeg_writes(tmp_path / "d.mkv", "-i", str(short_video), "-pix_fmt", "yuv420p10le", "-c:v", "ffv1")
    with VideoReader(deep, shorter_side_pixels=96) as reader:
        frames = list(reader)

    assert len(frames) == 10
    assert max(np.abs(a.astype(int) - b).mean() for a, b in zip(frames, ramps(10), strict=True)) < 2


def test_times_are_the_streams_own(short_video: Path) -> None:
    """At 5 frames per second, frame 7 is shown after 1.4 seconds."""
    with VideoReader(short_video) as reader:
        list(reader)

    assert reader.log.time_of_frame(7) == pytest.approx(1.4)


@pytest.mark.parametrize("interlaced", [False, True])
def test_fields_are_detected_and_separated(interlaced: bool, tmp_path: Path) -> None:
    """Two fields in one frame comb moving edges; after separation, neighbouring rows agree again."""
    fields = ["-vf", "tinterlace=mode=interleave_top"] if interlaced else []
    source = ("-f", "lavfi", "-i", "testsrc2=s=640x480:r=50:d=1")
    path = ffmpeg_writes(tmp_path / "v.mp4", *source, *fields, "-c:v", "libx264", "-crf", "12")
    with VideoReader(path, shorter_side_pixels=480) as reader:
        frames = np.stack(list(reader)).astype(np.float32)
    combs = np.abs(2 * frames[:, 1:-1] - frames[:, :-2] - frames[:, 2:]).mean()

    assert reader.log.is_interlaced(12) is interlaced
    assert reader.log.size_of_frame(12) == (480, 640)
    assert combs < 8


def test_shorter_side_is_as_asked(short_video: Path) -> None:
    """A 4:3 frame with a shorter side of 120 is 160 wide."""
    with VideoReader(short_video, shorter_side_pixels=120) as reader:
        shape = next(iter(reader)).shape

    assert shape == (120, 160, 3)


def test_rotation_is_honoured(short_video: Path, tmp_path: Path) -> None:
    """A video that its container rotates by 90 degrees is upright when it is read."""
    turned = ffmpeg_writes(tmp_path / "t.mp4", "-display_rotation", "90", "-i", str(short_video), "-c", "copy")
    with VideoReader(turned, shorter_side_pixels=96) as reader:
        shape = next(iter(reader)).shape

    assert shape == (128, 96, 3)


def test_pixels_that_are_not_square_are_made_so(short_video: Path, tmp_path: Path) -> None:
    """With pixels twice as wide as high, a video of 128x96 is read as 256x96."""
    wide = ffmpeg_writes(tmp_path / "w.mp4", "-i", str(short_video), "-vf", "setsar=2", "-crf", "20")
    with VideoReader(wide, shorter_side_pixels=96) as reader:
        shape = next(iter(reader)).shape

    assert shape == (96, 256, 3)


def test_the_number_of_frames_is_capped(short_video: Path) -> None:
    """Decoding stops after `max_frames`."""
    with VideoReader(short_video, max_frames=4) as reader:
        assert len(list(reader)) == 4


def test_without_a_cap_all_frames_are_read_however_long_it_takes(short_video: Path) -> None:
    """Without a cap, the time spent waiting for earlier frames does not count towards the timeout."""
    with VideoReader(short_video, max_frames=None) as reader:
        count = 0
        for _ in reader:
            count += 1
            reader.waited_seconds = 1e9

    assert count == 10


def test_reading_may_stop_early(short_video: Path) -> None:
    """A reader that is closed after one frame leaves no decoder running."""
    with VideoReader(short_video) as reader:
        next(iter(reader))

    assert reader.exit_status is not None


def test_writing_twice_gives_the_same_bytes(short_video: Path, tmp_path: Path) -> None:
    """The same frames give the same file."""
    again = tmp_path / "again.mp4"
    write_video(again, ramps(10), 5)

    assert again.read_bytes() == short_video.read_bytes()


def test_a_text_file_is_not_a_video(tmp_path: Path) -> None:
    """A text file is not a video, nor is a playlist that names other files."""
    text, playlist = tmp_path / "text.mp4", tmp_path / "list.m3u8"
    text.write_text("no video at all\n")
    playlist.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.ts\n#EXT-X-ENDLIST\n")

    assert {reason_of(text), reason_of(playlist)} == {"not-a-video"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("hls.ts", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\ngood.mp4\n#EXT-X-ENDLIST\n"),
        ("concat.avi", "ffconcat version 1.0\nfile good.mp4\n"),
        ("list.wmv", "[playlist]\nFile1=good.mp4\nLength1=-1\n"),
    ],
)
def test_a_list_of_other_files_is_not_a_video(name: str, text: str, short_video: Path, tmp_path: Path) -> None:
    """A list under the name of a video opens none of the files that it names, and the message stays one short line."""
    (tmp_path / "good.mp4").write_bytes(short_video.read_bytes())
    (tmp_path / name).write_text(text)
    with pytest.raises(UnreadableVideo) as caught:
        list(VideoReader(tmp_path / name))

    assert caught.value.reason == "not-a-video"
    message = str(caught.value).removeprefix(str(tmp_path))
    assert len(message) < 200
    assert "mov,mp4" not in message


def test_empty_and_missing_files_say_so(tmp_path: Path) -> None:
    """Empty and missing files are recognized without a decoder."""
    (tmp_path / "empty.mp4").touch()

    assert reason_of(tmp_path / "empty.mp4") == "empty-file"
    assert reason_of(tmp_path / "missing.mp4") == "missing-file"


def test_sound_alone_has_no_video(tmp_path: Path) -> None:
    """A container with sound only has no video stream."""
    sound = ffmpeg_writes(tmp_path / "sound.mp4", "-f", "lavfi", "-i", "sine=duration=1")

    assert reason_of(sound) == "no-picture-stream"


def test_a_cut_off_file_without_its_index_is_truncated(short_video: Path, tmp_path: Path) -> None:
    """An MP4 has its index at the end, and without it nothing decodes."""
    half = tmp_path / "half.mp4"
    half.write_bytes(short_video.read_bytes()[: short_video.stat().st_size // 2])

    assert reason_of(half) == "truncated"


def test_a_cut_off_file_with_its_index_gives_what_decodes(tmp_path: Path) -> None:
    """If the index is at the start, the first frames of a cut-off file decode."""
    noise = np.random.default_rng(0).integers(0, 256, (20, 96, 128, 3), dtype=np.uint8)
    write_video(tmp_path / "whole.mp4", noise, 10)
    front = ffmpeg_writes(
        tmp_path / "front.mp4", "-i", str(tmp_path / "whole.mp4"), "-c", "copy", "-movflags", "+faststart"
    )
    (tmp_path / "cut.mp4").write_bytes(front.read_bytes()[: front.stat().st_size // 2])
    with VideoReader(tmp_path / "cut.mp4") as reader:
        frames = list(reader)

    assert 2 <= len(frames) < 20


def test_frames_of_absurd_size_are_refused(short_video: Path, tmp_path: Path) -> None:
    """Frames of too many pixels, or whose longer side is over four times the shorter, are refused."""
    strip = ffmpeg_writes(tmp_path / "strip.mp4", "-f", "lavfi", "-i", "color=size=1600x64:duration=0.2")

    assert reason_of(short_video, max_source_pixels=1000) == "absurd-size"
    assert reason_of(strip) == "absurd-size"


def test_a_decoder_that_takes_too_long_is_ended(short_video: Path) -> None:
    """A decoder that exceeds the timeout is ended."""
    assert reason_of(short_video, timeout_seconds=0.0001) == "decoder-timeout"


def test_a_video_whose_time_has_passed_is_ended(short_video: Path) -> None:
    """Without a frame at its deadline, a video has the reason of that limit and not that of the decoder's timeout."""
    assert reason_of(short_video, deadline=time.monotonic() - 1) == "time-limit"


def test_a_decoder_that_takes_too_much_memory_ends(short_video: Path) -> None:
    """A decoder that exceeds its address space ends, and the reason says so.

    The bound is set on a process that runs already: so small a one may come after the decoder has begun, which then
    ends in some other way, but seldom.
    """
    assert "decoder-memory" in {reason_of(short_video, memory_mebibytes=48) for _ in range(4)}


def test_reasons_are_a_closed_list() -> None:
    """No reason is in the list twice."""
    assert len(set(UNREADABLE_REASONS)) == len(UNREADABLE_REASONS)


def test_without_ffmpeg_nothing_is_read_or_written(
    short_video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a variable names a program that is not there; no descriptor stays open."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(tmp_path / "ffmpeg"))
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(Unavailable, match=r"ffmpeg could not be started \(.*\); install ffmpeg"):
        VideoReader(short_video)
    with pytest.raises(Unavailable, match=r"ffmpeg could not be started \(.*\); install ffmpeg"):
        write_video(tmp_path / "no.mp4", ramps(1), 5)

    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


def test_a_place_that_cannot_be_written_is_named_and_nothing_else_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames that ffmpeg has not taken are no error of their own."""
    ignored: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", ignored.append)
    with pytest.raises(Unavailable, match=r"no\.mp4: ffmpeg could not write it"):
        write_video(tmp_path / "absent" / "no.mp4", ramps(60, 64, 64), 5)
    gc.collect()

    assert ignored == []


@pytest.mark.parametrize("frames", [[], ramps(1, 95, 128), [*ramps(1), *ramps(1, 64, 64)]])
def test_frames_that_make_no_video_are_refused(frames: list[NDArray[np.uint8]], tmp_path: Path) -> None:
    """No frame, an odd height, and a size that changes are refused."""
    with pytest.raises(InvalidInput):
        write_video(tmp_path / "no.mp4", frames, 5)
