"""Kinds of files that cameras, phones, sites and old tools write: every frame is right, or its fault is named."""

import random
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from watchmove.pipeline.errors import UnreadableVideo
from watchmove.pipeline.video.ffmpeg import VideoReader
from watchmove.pipeline.video.ffmpeg_commands import ffmpeg_executable
from watchmove.pipeline.video.tone_mapping import to_standard_range

HEIGHT, WIDTH, RATE = 96, 128, 24
Frames = NDArray[np.uint8]


def source_frames(count: int, seed: int = 0) -> Frames:
    """Frames (N, 96, 128, 3) of a textured square on a textured ground; no two of 60 have it at the same place."""
    rng = np.random.default_rng(seed)
    ground, square = (
        cv2.resize(rng.uniform(low, high, (12, 16, 3)), size, interpolation=cv2.INTER_CUBIC)
        for low, high, size in ((60, 150, (WIDTH, HEIGHT)), (20, 235, (36, 36)))
    )
    frames = np.repeat(ground[None], count, axis=0)
    for number, frame in enumerate(frames):
        frame[6 + number // 3 : 42 + number // 3, 4 + number : 40 + number] = square
    return np.clip(frames, 0, 255).astype(np.uint8)


def ffmpeg(*arguments: str | Path, raw: bytes = b"") -> None:
    """Run ffmpeg, with raw frames on stdin."""
    command = [ffmpeg_executable(), "-hide_banner", "-loglevel", "error", "-y", *map(str, arguments)]
    subprocess.run(command, input=raw, check=True)


def encode(path: Path, frames: Frames, *options: str | Path, rate: int = RATE) -> Path:
    """Encode frames with the given options, H.264 if they name no codec."""
    _, height, width, _ = frames.shape
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(rate), "-i", "pipe:0")
    codec = () if "-c:v" in options else ("-c:v", "libx264", "-crf", "8", "-pix_fmt", "yuv420p", "-bf", "0")
    ffmpeg(*raw, *codec, *options, path, raw=frames.tobytes())
    return path


def read(path: Path, **limits: float) -> tuple[list[Frames], VideoReader]:
    """All frames of a file, and the closed reader."""
    with VideoReader(path, shorter_side_pixels=HEIGHT, **limits) as reader:  # type: ignore[arg-type]
        return list(reader), reader


def numbers_of(images: list[Frames], source: Frames) -> list[int]:
    """For each image, the number of the source frame that it is most like, whatever its size."""
    small = [cv2.resize(frame, (64, 48), interpolation=cv2.INTER_AREA).astype(int) for frame in source]
    seen = [cv2.resize(image, (64, 48), interpolation=cv2.INTER_AREA).astype(int) for image in images]
    return [int(np.argmin([np.abs(frame - image).mean() for frame in small])) for image in seen]


def damaged_of(images: list[Frames], reader: VideoReader) -> list[int]:
    """The numbers of the damaged frames."""
    return [number for number in range(len(images)) if reader.log.is_damaged(number)]


def wrecked(path: Path, target: Path, places: tuple[float, ...]) -> Path:
    """A copy with 300 random bytes at each of the given places, as shares of the file's length."""
    data, draw = bytearray(path.read_bytes()), random.Random(3)
    for place in places:
        start = int(len(data) * place)
        data[start : start + 300] = draw.randbytes(300)
    target.write_bytes(data)
    return target


@pytest.fixture(scope="module")
def source() -> Frames:
    """48 source frames."""
    return source_frames(48)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("v.mp4", ()),
        ("v.avi", ("-c:v", "mpeg4", "-q:v", "2")),
        ("v.ts", ("-c:v", "mpeg2video", "-q:v", "2")),
    ],
)
def test_what_is_decoded_from_damaged_data_is_named(
    name: str, options: tuple[str, ...], source: Frames, tmp_path: Path
) -> None:
    """Frames that differ from those of the sound file are damaged, and so is none before the damage."""
    whole = encode(tmp_path / f"whole-{name}", source, *options, "-g", "16")
    sound, reader = read(whole)
    assert damaged_of(sound, reader) == []

    images, reader = read(wrecked(whole, tmp_path / name, (0.5,)))
    damaged = damaged_of(images, reader)
    errors = [min(float(np.abs(image.astype(int) - frame).mean()) for frame in sound) for image in images]

    assert damaged
    assert damaged[0] > 8
    assert max(error for number, error in enumerate(errors) if number not in damaged) < 1


def test_damage_ends_at_the_next_key_frame(source: Frames, tmp_path: Path) -> None:
    """Of three groups of 16 frames, only the damaged one is lost."""
    whole = encode(tmp_path / "whole.avi", source, "-c:v", "mpeg4", "-q:v", "2", "-g", "16")
    images, reader = read(wrecked(whole, tmp_path / "v.avi", (0.5,)))
    damaged = damaged_of(images, reader)

    assert 16 <= damaged[0] <= damaged[-1] < 32
    assert damaged == list(range(damaged[0], damaged[-1] + 1))


def test_a_stream_that_begins_without_a_key_frame_is_damaged_until_one(source: Frames, tmp_path: Path) -> None:
    """A broadcast that is joined in the middle begins with frames that refer to others."""
    whole = encode(tmp_path / "whole.ts", source, "-c:v", "mpeg2video", "-q:v", "2", "-g", "16", "-bf", "0")
    data = whole.read_bytes()
    start = len(data) // 6 // 188 * 188
    (tmp_path / "joined.ts").write_bytes(data[: 3 * 188] + data[start:])
    images, reader = read(tmp_path / "joined.ts")
    errors = [float(np.abs(image.astype(int) - source).mean(axis=(1, 2, 3)).min()) for image in images]
    damaged = damaged_of(images, reader)

    assert max(error for number, error in enumerate(errors) if number not in damaged) < 6
    assert len(damaged) < len(images)


def test_a_beginning_that_an_edit_list_hides_is_not_missing(source: Frames, tmp_path: Path) -> None:
    """A phone's trimmed video begins between two key frames, and is decoded from the one before."""
    whole = encode(tmp_path / "whole.mp4", source, "-g", "16", "-bf", "2")
    ffmpeg("-ss", "0.8", "-i", whole, "-c", "copy", tmp_path / "trimmed.mp4")
    images, reader = read(tmp_path / "trimmed.mp4")
    sound, _ = read(whole)

    assert damaged_of(images, reader) == []
    assert len(images) < 48
    assert all(any(np.array_equal(image, frame) for frame in sound) for image in images)


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg2video"])
@pytest.mark.parametrize("packet", [4, 9, 0.4, 0.7])
def test_packets_that_a_receiver_calls_wrong_are_damaged(
    codec: str, packet: float, source: Frames, tmp_path: Path
) -> None:
    """Also those of the first frame, and those of which the data give a picture without an error."""
    whole = encode(tmp_path / "whole.ts", source, "-c:v", codec, "-g", "16", "-bf", "2", "-b:v", "300k")
    sound, _ = read(whole)
    data, draw = bytearray(whole.read_bytes()), random.Random(3)
    start = int(packet if packet >= 1 else len(data) / 188 * packet) * 188
    data[start + 1] |= 0x80  # the transport error indicator
    data[start + 20 : start + 120] = draw.randbytes(100)
    (tmp_path / "wrong.ts").write_bytes(data)
    images, reader = read(tmp_path / "wrong.ts")
    damaged = damaged_of(images, reader)
    errors = [min(float(np.abs(image.astype(int) - frame).mean()) for frame in sound) for image in images]

    assert damaged
    assert max((error for number, error in enumerate(errors) if number not in damaged), default=0) < 1


def test_a_bare_stream_of_motion_jpeg_is_read(source: Frames, tmp_path: Path) -> None:
    """Network cameras record JPEGs one after the other, without a container."""
    images, reader = read(encode(tmp_path / "v.mjpeg", source, "-c:v", "mjpeg", "-q:v", "2"))

    assert len(images) == 48
    assert damaged_of(images, reader) == []


def cover(folder: Path) -> Path:
    """The picture of a cover."""
    ffmpeg("-f", "lavfi", "-i", "color=orange:s=200x200", "-frames:v", "1", folder / "cover.jpg")
    return folder / "cover.jpg"


def test_a_song_with_a_cover_has_no_picture_stream(tmp_path: Path) -> None:
    """Cover art is a stream of one picture, but no video."""
    song = tmp_path / "song.mp4"
    tone = ("-f", "lavfi", "-i", "sine=d=1", "-i", cover(tmp_path))
    ffmpeg(*tone, "-map", "0", "-map", "1", "-c:v", "copy", "-disposition:v", "attached_pic", song)
    with pytest.raises(UnreadableVideo) as caught:
        read(song)

    assert caught.value.reason == "no-picture-stream"


def test_words_of_the_log_in_a_path_change_nothing(tmp_path: Path) -> None:
    """A sound in a folder that is named as a filter is named as in any other folder."""
    song = tmp_path / "showinfo" / "encoder -> sound.mp4"
    song.parent.mkdir()
    ffmpeg("-f", "lavfi", "-i", "sine=d=1", song)
    with pytest.raises(UnreadableVideo) as caught:
        read(song)

    assert caught.value.reason == "no-picture-stream"


def test_a_picture_that_comes_late_is_read(source: Frames, tmp_path: Path) -> None:
    """Where the picture begins 12 seconds after the sound, ffmpeg does not select its stream by itself."""
    picture = encode(tmp_path / "picture.mp4", source)
    noise = ("-itsoffset", "12", "-i", picture, "-f", "lavfi", "-i", "anoisesrc=d=14:r=44100")
    ffmpeg(*noise, "-map", "0:v", "-map", "1:a", "-c:v", "copy", "-c:a", "mp3", "-b:a", "320k", tmp_path / "late.ts")
    images, _ = read(tmp_path / "late.ts")

    assert numbers_of(images, source) == list(range(48))


def test_the_stream_is_the_one_that_a_player_shows(source: Frames, tmp_path: Path) -> None:
    """A preview and a cover that come first are passed over, and the index of the stream is known."""
    film = encode(tmp_path / "film.mp4", source)
    preview = encode(tmp_path / "preview.mp4", source_frames(4, seed=1)[:, ::2, ::2], rate=2)
    both = tmp_path / "both.mkv"
    streams = ("-i", preview, "-i", film, "-map", "0:v", "-map", "1:v", "-c", "copy")
    ffmpeg(*streams, "-disposition:v:0", "0", "-disposition:v:1", "default", both)
    images, reader = read(both)

    assert numbers_of(images, source) == list(range(48))
    assert reader.log.stream == 1


@pytest.mark.parametrize("size", ["256:192", "96:128"])
@pytest.mark.parametrize("kind", ["ts", "mkv"])
def test_a_stream_that_changes_its_size_loses_no_frame(size: str, kind: str, source: Frames, tmp_path: Path) -> None:
    """Frames and times go on after the change, and a frame that stands upright is not squeezed."""
    parts = [encode(tmp_path / "0.ts", source[:24]), encode(tmp_path / "1.ts", source[24:], "-vf", f"scale={size}")]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    path = joined
    if kind == "mkv":
        path = tmp_path / "joined.mkv"
        ffmpeg("-i", joined, "-c", "copy", path)
    images, reader = read(path)
    width, height = (int(side) for side in size.split(":"))

    assert numbers_of(images, source) == list(range(48))
    assert reader.log.frame_times_seconds == pytest.approx([number / RATE for number in range(48)], abs=0.002)
    assert images[0].shape == (HEIGHT, WIDTH, 3)
    assert images[47].shape[0] / images[47].shape[1] == pytest.approx(height / width, rel=0.01)
    assert reader.log.size_of_frame(47) == (height, width)


@pytest.mark.parametrize(
    "change",
    [
        ("-vf", "scale=out_range=full", "-pix_fmt", "yuvj420p"),
        ("-pix_fmt", "yuv420p10le"),
        ("-pix_fmt", "yuv444p"),
    ],
    ids=["range", "depth", "chroma"],
)
def test_a_stream_that_changes_its_pixels_keeps_times_and_colours(
    change: tuple[str, ...], source: Frames, tmp_path: Path
) -> None:
    """Range, bit depth and chroma subsampling can change within a stream; no frame is lost, lighter or darker."""
    parts = [
        encode(tmp_path / "0.ts", source[:24]),
        encode(tmp_path / "1.ts", source[24:], "-c:v", "libx264", "-crf", "8", "-bf", "0", *change),
    ]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    images, reader = read(joined)

    assert numbers_of(images, source) == list(range(48))
    assert reader.log.frame_times_seconds == pytest.approx([number / RATE for number in range(48)], abs=0.002)
    errors = np.abs(np.array(images, int) - source).mean(axis=(1, 2, 3))
    assert errors.max() < 5  # of a wrong range it is 10 and more


@pytest.mark.parametrize(
    "title",
    [
        "showinfo n: 0 pts: 0 pts_time:99 s:320x240 i:T",
        "[Parsed_showinfo_0 @ 0x5] [info] n: 0 pts: 0 pts_time:99 fmt:rgb24 s:30000x30000 iskey:1 type:I",
        "decoder -> pts:1 pts_time:1 keyframe:0 frame_type:1 [error] corrupt decoded frame",
        "  Stream #0:7 -> #0:0 (h264 (native) -> rawvideo (native))",
        "Picture size Cannot allocate memory moov atom not found",
        "x" * 4096 + "[error] corrupt decoded frame",
        "\x1b[1;31m[error] \x1b[0m\x1b[1;31merror while decoding MB 3 4",
    ],
)
def test_titles_change_nothing(title: str, source: Frames, tmp_path: Path) -> None:
    """Text in a file that looks like the decoder's own reports has no effect."""
    path = encode(tmp_path / "v.mkv", source, "-metadata", f"title={title}", "-metadata", f"{title}={title}")
    images, reader = read(path)

    assert numbers_of(images, source) == list(range(48))
    assert reader.log.frame_times_seconds == pytest.approx([number / RATE for number in range(48)], abs=0.002)
    assert damaged_of(images, reader) == []
    assert reader.log.size_of_frame(0) == (HEIGHT, WIDTH)


def woven(frames: Frames, first: int) -> Frames:
    """Half as many frames, whose rows alternate between one frame and the next; row 0 is of frame `first` of a pair."""
    result = frames[first::2].copy()
    result[:, 1::2] = frames[1 - first :: 2, 1::2]
    return result


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("turned", [False, True])
def test_interlaced_video_that_nobody_flagged_is_found(turned: bool, first: int, tmp_path: Path) -> None:
    """One field of each frame is taken, where only a small thing moves, and where the container turns the picture."""
    frames = source_frames(60)
    path = encode(tmp_path / "v.mp4", woven(frames, first), rate=25)
    if turned:
        ffmpeg("-display_rotation", "90", "-i", path, "-c", "copy", tmp_path / "turned.mp4")
        path = tmp_path / "turned.mp4"
    images, reader = read(path)
    upright = [np.rot90(image, -1) if turned else image for image in images]

    assert reader.log.is_interlaced(0)
    # a field has half of the rows, so that a square may seem to be one frame away
    numbers = numbers_of([np.ascontiguousarray(image) for image in upright], frames)
    assert np.abs(np.array(numbers) - np.arange(first, 60, 2)).max() <= 1


def test_real_clips_are_progressive(test_data: Path) -> None:
    """No real progressive clip is taken for interlaced."""
    clips = sorted((test_data / "clips").glob("*.mp4"))[::8]
    assert len(clips) > 10
    for clip in clips:
        images, reader = read(clip, max_frames=120)
        assert images
        assert not reader.log.is_interlaced(0), clip.name


def test_transparent_pixels_are_grey(tmp_path: Path) -> None:
    """What a transparent pixel hides does not appear: it is plain grey."""
    colours = np.zeros((6, HEIGHT, WIDTH, 4), np.uint8)
    colours[..., 0], colours[:, :48, :, 3] = 255, 255
    raw = ("-f", "rawvideo", "-pix_fmt", "rgba", "-s", f"{WIDTH}x{HEIGHT}", "-r", "24", "-i", "pipe:0")
    ffmpeg(*raw, "-c:v", "qtrle", tmp_path / "v.mov", raw=colours.tobytes())
    images, _ = read(tmp_path / "v.mov")

    assert len(images) == 6
    assert images[0][24, 64].tolist() == [255, 0, 0]
    assert images[0][72, 64].tolist() == [128, 128, 128]


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
@pytest.mark.parametrize("has_decoder", [True, False])
def test_the_alpha_channel_of_webm_is_read(
    codec: str, has_decoder: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ffmpeg's own decoders of VP8 and VP9 ignore it; where there is no other one, the colours are read."""
    colours = np.zeros((6, HEIGHT, WIDTH, 4), np.uint8)
    colours[..., 0], colours[:, :48, :, 3] = 255, 255
    raw = ("-f", "rawvideo", "-pix_fmt", "rgba", "-s", f"{WIDTH}x{HEIGHT}", "-r", "24", "-i", "pipe:0")
    ffmpeg(
        *raw, "-c:v", codec, "-pix_fmt", "yuva420p", "-auto-alt-ref", "0", tmp_path / "v.webm", raw=colours.tobytes()
    )
    if not has_decoder:
        monkeypatch.setattr("watchmove.pipeline.video.ffmpeg.ALPHA_DECODERS", {"vp8": "absent", "vp9": "absent"})
    images, reader = read(tmp_path / "v.webm")

    assert len(images) == 6
    assert damaged_of(images, reader) == []
    assert np.abs(images[0][24, 64].astype(int) - [255, 0, 0]).max() < 12
    assert np.abs(images[0][72, 64].astype(int) - 128).max() < 12 or not has_decoder


def test_four_to_one_is_read(tmp_path: Path) -> None:
    """A frame exactly four times as wide as high is read, a wider one is not."""
    for name, width in (("wide", 384), ("wider", 400)):
        ffmpeg("-f", "lavfi", "-i", f"testsrc=s={width}x96:d=0.5", tmp_path / f"{name}.mp4")
    images, _ = read(tmp_path / "wide.mp4")
    with pytest.raises(UnreadableVideo) as caught:
        read(tmp_path / "wider.mp4")

    assert images[0].shape == (96, 384, 3)
    assert caught.value.reason == "absurd-size"


def test_frames_before_the_time_limit_are_given(tmp_path: Path) -> None:
    """Where the decoder is too slow, the frames so far are read, and the reader says why there are no more."""
    path = encode(tmp_path / "v.mp4", source_frames(80).repeat(10, axis=0))
    with VideoReader(path, shorter_side_pixels=480) as reader:
        images = iter(reader)
        first = next(images)
        reader._timeout_seconds = 0.0
        rest = list(images)

    assert first.shape == (480, 640, 3)
    assert len(rest) < 799
    assert reader.ended_early == "decoder-timeout"


def test_the_time_limit_grows_with_the_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame of more pixels than the limit is meant for gets more time, in proportion."""
    path = encode(tmp_path / "v.mp4", source_frames(60).repeat(5, axis=0))
    read_frames = []
    for pixels in (HEIGHT * WIDTH, HEIGHT * WIDTH * 1e-7):
        monkeypatch.setattr("watchmove.pipeline.video.ffmpeg._PIXELS_OF_LIMIT", pixels)
        with VideoReader(path) as reader:
            images = iter(reader)
            next(images)
            reader._timeout_seconds = 1e-5
            read_frames.append((1 + len(list(images)), reader.ended_early))

    assert read_frames[0][0] < 300
    assert [why for _, why in read_frames] == ["decoder-timeout", ""]
    assert read_frames[1][0] == 300


def test_high_dynamic_range_becomes_standard() -> None:
    """Grey of 0 to 100 % of diffuse white, coded as PQ and as HLG, comes back within five levels of BT.1886."""
    grey = np.arange(0, 200, 20) / 255
    light = grey**2.4
    power = (light * 203 / 10000) ** 0.1593017578125
    coded_pq = ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    scene = (light * 203 / 1000) ** (1 / 1.2)
    coded_hlg = np.where(
        scene <= 1 / 12, np.sqrt(3 * scene), 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-6)) + 0.55991073
    )
    for transfer, coded in (("smpte2084", coded_pq), ("arib-std-b67", coded_hlg)):
        image = np.rint(coded * 255).astype(np.uint8)[None, :, None].repeat(3, axis=2)
        result = to_standard_range(np.ascontiguousarray(image), transfer)
        assert np.abs(result[0, :, 0].astype(float) - grey * 255).max() < 5, transfer


def test_a_stream_that_shows_no_frame_is_named(source: Frames, tmp_path: Path) -> None:
    """An edit list can hide all of them; ffmpeg then reports no error."""
    path = encode(tmp_path / "v.mp4", source)
    data = bytearray(path.read_bytes())
    place = data.index(b"elst") + 12
    data[place : place + 4] = bytes(4)  # the duration
    path.write_bytes(data)

    with pytest.raises(UnreadableVideo, match="its stream has no frame that is shown") as caught:
        read(path)
    assert caught.value.reason == "decoder-failed"
