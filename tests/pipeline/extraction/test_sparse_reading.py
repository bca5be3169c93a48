"""Sparse reading: windows have the frames of a complete reading, and odd files are read completely."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.pipeline.video.test_inputs import encode, source_frames, wrecked
from watchmove.pipeline.extraction.complete_reading import Reading, ReadingLimits, read_completely
from watchmove.pipeline.extraction.near_duplicate_videos import near_duplicate_videos
from watchmove.pipeline.extraction.sampled_video import Extraction, extract_video
from watchmove.pipeline.extraction.sparse_reading import NotAsSurveyed, read_sparsely
from watchmove.pipeline.extraction.stretches import Stretch, plan_stretches
from watchmove.pipeline.extraction.survey import KeyFrame, Survey, survey_video
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.fingerprint import Fingerprinter, hashes_of
from watchmove.pipeline.video.frame_reports import FrameReports
from watchmove.pipeline.video.shots import Window

SETTINGS = ExtractionSettings(window_frames=10, windows_per_shot=2, frames_per_window=2, shorter_side_pixels=96)
COMPLETE = SETTINGS.model_copy(update={"reading": "complete"})
H264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "12", "-bf", "2", "-sc_threshold", "0")
GREY = np.full((48, 64, 3), 90, np.uint8)
RED = np.zeros((48, 64, 3), np.uint8) + np.array([200, 20, 20], np.uint8)
Frames = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


def square(count: int, step: int = 1) -> Frames:
    """Frames (N, 96, 128, 3) of a square that moves `step` pixels a frame, to the right and back."""
    forth = source_frames(60)[::step]
    period = np.concatenate([forth, forth[-2:0:-1]])
    return period[np.arange(count) % len(period)]


def survey_of(count: int, keys: dict[int, Frames]) -> Survey:
    """A survey of `count` frames, 25 a second, with key frames of these numbers and thumbnails."""
    return Survey(np.arange(count) / 25, tuple(KeyFrame(number, image) for number, image in keys.items()))


def windows_of(path: Path, settings: ExtractionSettings = SETTINGS) -> tuple[list[tuple[Window, ...]], Reading]:
    """The windows of each shot of a video that is read sparsely, and what was read."""
    survey = survey_video(path, settings)
    assert survey is not None
    stretches = plan_stretches(survey, settings)
    assert stretches is not None
    reading = Reading()
    return list(read_sparsely(path, survey, stretches, settings, reading, ReadingLimits(None, ""))), reading


def numbers_of(windows: Sequence[Window]) -> list[list[int]]:
    """The numbers of the frames of each window."""
    return [[frame.number for frame in window.frames] for window in windows]


def test_windows_begin_at_the_key_frames_nearest_to_even_places() -> None:
    """Two windows of a shot of 200 frames are wanted at 0 and 100."""
    stretches = plan_stretches(survey_of(200, {0: GREY, 50: GREY, 90: GREY, 150: GREY}), SETTINGS)

    assert stretches == [[Stretch(0, 0, 90, 1), Stretch(90, 90, 200, 1)]]


def test_windows_without_a_key_frame_nearby_begin_at_their_places() -> None:
    """They are decoded from the last key frame before, here a quarter of the video."""
    survey = survey_of(400, {0: GREY, 200: RED, 300: RED})

    assert plan_stretches(survey, SETTINGS) == [
        [Stretch(0, 0, 100, 1), Stretch(0, 100, 200, 1)],
        [Stretch(200, 200, 300, 1), Stretch(300, 300, 400, 1)],
    ]


def test_windows_follow_each_other_where_most_of_the_video_would_be_decoded() -> None:
    """Of a video with one key frame, the beginning is read."""
    assert plan_stretches(survey_of(200, {0: GREY}), SETTINGS) == [[Stretch(0, 0, 200, 2)]]


def test_a_key_frame_of_other_colours_begins_a_shot() -> None:
    """A shot that is shorter than a window has one window."""
    stretches = plan_stretches(survey_of(200, {0: GREY, 100: RED, 104: GREY}), SETTINGS)

    assert stretches == [[Stretch(0, 0, 100, 2)], [Stretch(100, 100, 104, 1)], [Stretch(104, 104, 200, 2)]]


def test_shots_are_left_out_evenly_if_there_are_too_many_windows() -> None:
    """Of ten shots with two windows each, every third is read if seven windows are allowed."""
    survey = survey_of(500, {50 * number: RED if number % 2 else GREY for number in range(10)})
    stretches = plan_stretches(survey, SETTINGS.model_copy(update={"windows_per_video": 7}))

    assert stretches is not None
    assert [shot[0].first for shot in stretches] == [0, 150, 300, 450]


def test_a_video_that_is_mostly_windows_is_read_completely() -> None:
    """Two windows of ten of 24 frames are no reason to seek."""
    assert plan_stretches(survey_of(24, {0: GREY}), SETTINGS) is None


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.avi"])
def test_windows_have_the_frames_of_a_complete_reading(name: str, tmp_path: Path) -> None:
    """Bit for bit, with their numbers, times and conditions; all other frames are passed over."""
    codec = ("-c:v", "mpeg4", "-q:v", "2") if name.endswith("avi") else H264
    path = encode(tmp_path / name, square(120), *codec, "-g", "30", rate=25)
    shots, reading = windows_of(path)
    complete = Reading()
    settings = COMPLETE.model_copy(update={"windows_per_shot": 16})
    shot_windows = list(read_completely(path, settings, complete, ReadingLimits(None, "")))
    known = {frame.number: frame for windows in shot_windows for window in windows for frame in window.frames}
    found = [frame for windows in shots for window in windows for frame in window.frames]

    assert [numbers_of(windows) for windows in shots] == [[[*range(10)], [*range(60, 70)]]]
    assert all(np.array_equal(frame.image, known[frame.number].image) for frame in found)
    assert [frame.seconds for frame in found] == [known[frame.number].seconds for frame in found]
    assert all(frame.conditions == known[frame.number].conditions for frame in found)
    assert (reading.frames_seen, reading.shots) == (complete.frames_seen, complete.shots)


def test_a_cut_inside_a_stretch_begins_a_shot(tmp_path: Path) -> None:
    """Also where the encoder has put no key frame there."""
    frames = np.concatenate([square(14), 255 - square(106)])
    shots, reading = windows_of(encode(tmp_path / "v.mp4", frames, *H264, "-g", "200"))

    assert [numbers_of(windows) for windows in shots] == [[[*range(10)]], [[*range(14, 20)]]]
    assert [window.shot for windows in shots for window in windows] == [0, 1]
    assert reading.shots == 2


def test_repeats_do_not_shorten_windows(tmp_path: Path) -> None:
    """Ten different frames are read from thirty or more."""
    path = encode(tmp_path / "v.mp4", np.repeat(square(60), 3, axis=0), *H264, "-g", "90", rate=60)
    shots, _ = windows_of(path, SETTINGS.model_copy(update={"windows_per_shot": 1}))
    numbers = numbers_of(shots[0])[0]

    assert len(numbers) == 10
    assert {number // 3 for number in numbers} == set(range(10))


def outcome(extraction: Extraction) -> list[tuple[int, str | None, float, tuple[str, ...]]]:
    """What is recorded of each frame."""
    return [(f.index, f.reject_reason, f.time_seconds, f.conditions) for f in extraction.frames]


def test_damage_in_a_window_leads_to_a_complete_reading(tmp_path: Path) -> None:
    """Frames after the damage are found that no window of the plan had."""
    whole = encode(tmp_path / "whole.avi", square(120), "-c:v", "mpeg4", "-q:v", "2", "-g", "40")
    path = wrecked(whole, tmp_path / "v.avi", (0.15,))
    sparse, complete = extract_video(path, SETTINGS), extract_video(path, COMPLETE)

    assert outcome(sparse) == outcome(complete)
    assert "damaged" in [frame.reject_reason for frame in sparse.frames]
    assert any(frame.reject_reason is None for frame in sparse.frames)


def damaged_frame(path: Path, target: Path, number: int) -> Path:
    """A copy of an AVI with random bytes in the data of one frame."""
    data, place = bytearray(path.read_bytes()), path.read_bytes().index(b"movi")
    for _ in range(number + 1):
        place = data.index(b"00dc", place) + 8
    size = int.from_bytes(data[place - 4 : place], "little")
    data[place + size // 3 : place + size] = np.random.default_rng(1).bytes(size - size // 3)
    target.write_bytes(data)
    return target


def test_damage_behind_a_window_changes_nothing(tmp_path: Path) -> None:
    """A decoder works ahead, so that it reports such damage or not; the same frames are read each time."""
    whole = encode(tmp_path / "whole.avi", square(120), "-c:v", "mpeg4", "-q:v", "2", "-g", "60")
    path = damaged_frame(whole, tmp_path / "v.avi", 12)
    found = [[window for windows in windows_of(each)[0] for window in windows] for each in (whole, *[path] * 8)]
    images = [np.stack([frame.image for window in windows for frame in window.frames]) for windows in found]

    assert all(np.array_equal(images[0], again) for again in images[1:])


@pytest.mark.parametrize("number", [5, 9, 11])
def test_damage_up_to_the_last_frame_that_is_read_shows_each_time(number: int, tmp_path: Path) -> None:
    """Also in the two frames behind a window, by which a cut at its end is judged."""
    whole = encode(tmp_path / "whole.avi", square(120), "-c:v", "mpeg4", "-q:v", "2", "-g", "60")
    with pytest.raises(NotAsSurveyed):
        windows_of(damaged_frame(whole, tmp_path / "v.avi", number))


def all_called_key(path: Path, target: Path) -> Path:
    """A copy of a Matroska file that calls each frame a key frame."""
    data = bytearray(path.read_bytes())
    place = data.index(bytes.fromhex("1f43b675"))  # the first cluster
    while place < len(data):
        name = 9 - data[place].bit_length()
        length = 9 - data[place + name].bit_length()
        size = int.from_bytes(data[place + name : place + name + length], "big") & (1 << 7 * length) - 1
        if data[place] == 0xA3:  # a block: the number of its track, its time in two bytes, and its flags
            data[place + name + length + 3] |= 0x80
        is_cluster = data[place : place + name] == bytes.fromhex("1f43b675")
        place += name + length + (0 if is_cluster else size)
    target.write_bytes(data)
    return target


def test_an_index_that_leads_to_another_frame_is_not_relied_on(tmp_path: Path) -> None:
    """Theora decodes a frame without those that it refers to, and reports no error."""
    path = encode(tmp_path / "whole.mkv", square(120), "-c:v", "libtheora", "-q:v", "8", "-g", "60")
    path = all_called_key(path, tmp_path / "v.mkv")
    survey = survey_video(path, SETTINGS)
    assert survey is not None
    with pytest.raises(NotAsSurveyed):
        list(read_sparsely(path, survey, [[Stretch(60, 110, 120, 1)]], SETTINGS, Reading(), ReadingLimits(None, "")))


def test_frames_at_the_end_that_an_edit_list_hides_are_not_counted(tmp_path: Path) -> None:
    """A telephone trims a video so."""
    path = encode(tmp_path / "v.mp4", square(120), *H264, "-g", "30")
    data = bytearray(path.read_bytes())
    place = data.index(b"elst") + 12
    assert int.from_bytes(data[place : place + 4], "big") == 5000  # milliseconds
    data[place : place + 4] = (2500).to_bytes(4, "big")
    path.write_bytes(data)

    assert survey_video(path, SETTINGS) is None
    assert extract_video(path, SETTINGS).frames_seen == 60


def test_dropped_frames_of_an_avi_are_not_counted(tmp_path: Path) -> None:
    """In its place in the file, such a frame has an empty packet."""
    dropped = ("-vf", "select='not(between(n,35,45))'", "-fps_mode", "passthrough", "-g", "30")
    found = {
        codec: extract_video(encode(tmp_path / f"{codec}.avi", square(120), "-c:v", codec, *dropped), SETTINGS)
        for codec in ("mpeg4", "msmpeg4", "wmv2", "flv")
    }

    assert {codec: each.frames_seen for codec, each in found.items()} == dict.fromkeys(found, 109)
    assert survey_video(tmp_path / "mpeg4.avi", SETTINGS) is not None


def test_the_fingerprint_of_a_time_lapse_takes_no_more_images_than_others(tmp_path: Path) -> None:
    """A frame every hour for five days, in quarters of a second, would be 1.7 million images."""
    path = encode(
        tmp_path / "v.mp4", square(120), *H264, "-g", "30", "-vf", "setpts=N*3600/TB", "-fps_mode", "passthrough"
    )
    survey = survey_video(path, SETTINGS)
    assert survey is not None
    counted = Counted()
    plan, reading = [[Stretch(0, 0, 30, 1)]], Reading(fingerprinter=counted)
    list(read_sparsely(path, survey, plan, SETTINGS, reading, ReadingLimits(None, "")))

    assert survey.times_seconds[-1] == 119 * 3600
    assert 4000 < counted.images < 6000


def test_before_the_first_frame_there_is_nothing_to_fingerprint(tmp_path: Path) -> None:
    """Where the sound begins 0.6 seconds before the picture."""
    sound = ("-f", "lavfi", "-t", "8", "-i", "sine", "-map", "0:v", "-map", "1:a")
    path = encode(tmp_path / "v.mkv", square(120), *sound, *H264, "-g", "30", "-vf", "setpts=PTS+0.6/TB")
    survey = survey_video(path, SETTINGS)
    assert survey is not None
    counted = Counted()
    plan, reading = [[Stretch(0, 0, 30, 1)]], Reading(fingerprinter=counted)
    list(read_sparsely(path, survey, plan, SETTINGS, reading, ReadingLimits(None, "")))

    assert 0.5 < survey.times_seconds[0] < 0.75
    assert counted.first_seconds == 0.75


class Counted(Fingerprinter):
    """A fingerprinter that counts its images, and keeps the time of the first."""

    images = 0
    first_seconds = 0.0

    def add(self, seconds: float, thumbnail: Frames) -> None:
        """Take an image."""
        self.first_seconds = self.first_seconds if self.images else seconds
        self.images += 1
        super().add(seconds, thumbnail)


def test_frames_at_other_times_than_surveyed_cannot_be_numbered(tmp_path: Path) -> None:
    """A survey of another file leads to no wrong number."""
    path = encode(tmp_path / "v.mp4", square(120), *H264, "-g", "30", rate=25)
    other = survey_video(encode(tmp_path / "other.mp4", square(120), *H264, "-g", "30", rate=24), SETTINGS)
    assert other is not None
    with pytest.raises(NotAsSurveyed):
        list(read_sparsely(path, other, [[Stretch(30, 30, 60, 1)]], SETTINGS, Reading(), ReadingLimits(None, "")))


@pytest.mark.parametrize("decoder", [0, 1, 2])
def test_a_report_that_another_message_breaks_changes_nothing(
    decoder: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first decoder reads the key frames, each other one a window; one of them does not report its second frame."""
    path = encode(tmp_path / "v.mp4", square(120), *H264, "-g", "30")
    expected = [numbers_of(windows) for windows in windows_of(path)[0]]
    decoders: list[FrameReports] = []
    lost: list[bytes] = []
    add = FrameReports.add

    def add_unless_lost(self: FrameReports, line: bytes, errors: bytes = b"") -> None:
        if self not in decoders:
            decoders.append(self)
        if decoders.index(self) == decoder and b"] n:   1 " in line:
            lost.append(line)
            return
        add(self, line, errors)

    monkeypatch.setattr(FrameReports, "add", add_unless_lost)

    assert [numbers_of(windows) for windows in windows_of(path)[0]] == expected
    assert len(lost) == 2
    assert len(decoders) == 4  # the key frames, two windows, and one of these again


def test_an_interlaced_video_is_recognised_by_its_windows(tmp_path: Path) -> None:
    """One field of each frame is read, and named."""
    path = encode(tmp_path / "v.mp4", square(240, step=6), *H264, "-g", "40", "-vf", "tinterlace=mode=interleave_top")
    settings = SETTINGS.model_copy(update={"windows_per_shot": 3, "window_frames": 16})
    found = extract_video(path, settings)

    assert survey_video(path, settings) is not None
    assert found.frames
    assert all("interlaced" in frame.conditions for frame in found.frames)


def test_frames_after_the_largest_number_are_not_read(tmp_path: Path) -> None:
    """The reason is named as in a complete reading."""
    path = encode(tmp_path / "v.mp4", square(120), *H264, "-g", "30")
    shots, reading = windows_of(path, SETTINGS.model_copy(update={"max_frames": 60}))

    assert [numbers_of(windows) for windows in shots] == [[[*range(10)], [*range(30, 40)]]]
    assert (reading.frames_seen, reading.ended_early) == (60, "max-frames")


def test_at_the_deadline_reading_ends(tmp_path: Path) -> None:
    """The windows that were read are the result, and the reason is named."""
    path = encode(tmp_path / "v.mp4", square(120), *H264, "-g", "30")
    survey = survey_video(path, SETTINGS)
    assert survey is not None
    reading, deadline = Reading(), time.monotonic() + 5
    plan = [[Stretch(0, 0, 30, 1)], [Stretch(60, 60, 90, 1)]]
    shots = read_sparsely(path, survey, plan, SETTINGS, reading, ReadingLimits(deadline, ""))
    first = next(shots)
    time.sleep(max(0.0, deadline - time.monotonic()))

    assert numbers_of(first) == [[*range(10)]]
    assert list(shots) == []
    assert reading.ended_early == "time-limit"


def test_a_copy_with_other_key_frames_is_recognised(tmp_path: Path) -> None:
    """Fingerprints are computed from images at equal distances, whatever frames are decoded."""
    frames = np.concatenate([square(100), square(100, step=2)[:, ::-1], 200 - square(100, step=3) // 2])
    prints = []
    for name, group in (("v.mp4", "25"), ("copy.mkv", "40")):
        _, reading = windows_of(encode(tmp_path / name, frames, *H264, "-g", group, rate=25))
        prints.append(hashes_of(reading.fingerprinter.fingerprint()))
    hashes = np.array([value for values in prints for value in values], np.uint64)

    assert all(prints)
    assert near_duplicate_videos(hashes, np.array([len(values) for values in prints]), np.arange(2)).any()
