"""Decoding by a GPU, on machines without one: the command, frames in nv12, and the return to ffmpeg's own decoders.

A stand-in for ffmpeg decodes on the CPU what a GPU is to decode (`gpu_stand_in.py`). With a pretended driver, ffmpeg
takes all steps of decoding by NVDEC, and gets frames without a picture (`pretended_driver.py`).
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.pipeline.video.gpu_stand_in import Fault, GpuStandIn
from tests.pipeline.video.pretended_driver import PretendedDriver
from tests.pipeline.video.test_inputs import encode, ffmpeg, read, source_frames, woven, wrecked
from watchmove.pipeline.errors import UnreadableVideo
from watchmove.pipeline.extraction.sampled_video import Extraction, extract_video
from watchmove.pipeline.extraction.survey import Survey, survey_video
from watchmove.pipeline.masks.choice import shot_segmenter
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.decoder import Decoder, DecoderLimits, HardwareFailed
from watchmove.pipeline.video.ffmpeg import VideoReader
from watchmove.pipeline.video.ffmpeg_commands import EVERYTHING, DecodeChoice, FilterNames, decode_command
from watchmove.pipeline.video.frames import hardware_problem

SETTINGS = ExtractionSettings(window_frames=10, windows_per_shot=2, frames_per_window=2, shorter_side_pixels=96)
BY_GPU = SETTINGS.model_copy(update={"device": "torch-cpu", "hardware_decoding": True})
MakeStandIn = Callable[[Fault], GpuStandIn]


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PretendedDriver:
    """A driver that ffmpeg takes for NVIDIA's."""
    (tmp_path / "driver").mkdir()
    return PretendedDriver(tmp_path / "driver", monkeypatch)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeStandIn:
    """Puts the stand-in on the search path, with a fault."""

    def make(fault: Fault) -> GpuStandIn:
        (tmp_path / "bin").mkdir()
        return GpuStandIn(tmp_path / "bin", monkeypatch, fault)

    return make


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """96 frames of a moving square, with a key frame every 16 frames."""
    return encode(tmp_path / "v.mp4", np.concatenate([source_frames(48), source_frames(48)[::-1]]), "-g", "16")


def extracted(path: Path, settings: ExtractionSettings) -> Extraction:
    """What is found in a video, with masks of the CPU whatever the device is."""
    return extract_video(path, settings, shot_segmenter(SETTINGS))


def assert_same(found: Extraction, expected: Extraction) -> None:
    """All frames, masks and counts are equal to the last bit."""
    facts = [
        (each.frames_seen, each.shots, each.fingerprint, [(f.index, f.time_seconds, f.conditions) for f in each.frames])
        for each in (found, expected)
    ]
    assert facts[0] == facts[1]
    for one, other in zip(found.frames, expected.frames, strict=True):
        assert np.array_equal(one.image, other.image)
        assert np.array_equal(one.soft_mask, other.soft_mask)


def numbers_of(survey: Survey | None) -> list[int] | None:
    """The numbers of all frames and of the key frames of a survey."""
    return None if survey is None else [len(survey.times_seconds), *(key.number for key in survey.key_frames)]


@pytest.mark.parametrize("hardware", [False, True])
def test_the_input_has_the_option(hardware: bool) -> None:
    """Before the file, so that it holds for its decoder; frames come back to memory, for the same filters."""
    limits = {"shorter_side_pixels": 96, "max_source_pixels": 10**6, "samples_descriptor": None}
    commands = [
        decode_command(Path("v.mp4"), DecodeChoice(hardware=each), EVERYTHING, FilterNames("a", "b"), **limits)  # type: ignore[arg-type]
        for each in (hardware, False)
    ]
    options = commands[0][: commands[0].index("-i")]

    assert ("-hwaccel" in options) == hardware
    if hardware:
        at = options.index("-hwaccel")
        assert options[at : at + 2] == ["-hwaccel", "cuda"]
        assert "-hwaccel_output_format" not in options
        assert options[:at] + commands[0][at + 2 :] == commands[1]


@pytest.mark.parametrize("reading", ["sparse", "complete"])
def test_without_a_gpu_everything_is_as_on_the_cpu(reading: str, video: Path, stand_in: MakeStandIn) -> None:
    """Without a driver, ffmpeg ends before the first frame. Only one decoder is tried."""
    expected = extracted(video, SETTINGS.model_copy(update={"reading": reading}))
    program = stand_in("no GPU")
    found = extracted(video, BY_GPU.model_copy(update={"reading": reading}))

    assert len(expected.frames) > 2
    assert_same(found, expected)
    assert program.starts == 1


@pytest.mark.parametrize("reading", ["sparse", "complete"])
def test_without_the_library_of_nvdec_everything_is_as_on_the_cpu(
    reading: str, video: Path, driver: PretendedDriver, stand_in: MakeStandIn
) -> None:
    """ffmpeg writes errors and decodes by itself then; they are none of the video's."""
    expected = extracted(video, SETTINGS.model_copy(update={"reading": reading}))
    driver.lose_decoder()
    program = stand_in("no GPU")
    found = extracted(video, BY_GPU.model_copy(update={"reading": reading}))

    assert_same(found, expected)
    assert program.starts == 1
    with (
        pytest.raises(HardwareFailed, match=r"^Cannot load libnvcuvid\.so\.1$"),
        VideoReader(video, hardware=True) as reader,
    ):
        list(reader)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("v.mp4", ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "2", "-g", "16")),
        ("v.mkv", ("-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-x265-params", "log-level=error:keyint=16")),
        ("v.ts", ("-c:v", "mpeg2video", "-q:v", "2", "-g", "16")),
        ("v.webm", ("-c:v", "libvpx-vp9", "-pix_fmt", "yuv420p", "-g", "16")),
        ("v.avi", ("-c:v", "mjpeg", "-pix_fmt", "yuvj420p")),
        ("ffv1.mkv", ("-c:v", "ffv1")),
    ],
)
def test_ffmpeg_gives_the_frames_of_a_gpu(
    name: str, options: tuple[str, ...], tmp_path: Path, driver: PretendedDriver
) -> None:
    """All of them, with the times, sizes and key frames of the CPU, none damaged; other codecs are decoded as ever."""
    assert driver
    path = encode(tmp_path / name, source_frames(48), *options)
    surveyed, expected_survey = (survey_video(path, settings) for settings in (BY_GPU, SETTINGS))
    expected, plain = read(path)
    with VideoReader(path, shorter_side_pixels=96, hardware=True) as reader:
        found = list(reader)
    shades = sorted(float(image.mean()) for image in found)

    assert len(found) == len(expected) == 48
    assert reader.log.frame_times_seconds == plain.log.frame_times_seconds
    assert {reader.log.size_of_frame(number) for number in range(48)} == {(96, 128)}
    assert not any(reader.log.is_damaged(number) for number in range(48))
    assert numbers_of(surveyed) == numbers_of(expected_survey)
    if "ffv1" in name:
        assert np.array_equal(found, expected)
    else:
        # each shade of grey once: no picture is lost or given twice
        assert max(np.ptp(image) for image in found) <= 4  # the grey of ten bits has a tint
        assert np.diff(shades).min() > 1


@pytest.mark.parametrize("picture", [0, 30, 95])
def test_a_gpu_that_fails_is_given_up(
    picture: int, video: Path, driver: PretendedDriver, stand_in: MakeStandIn
) -> None:
    """At the first picture, in the middle or at the last one: the video is read again on the CPU, as without a GPU."""
    complete = {"reading": "complete"}
    expected = extracted(video, SETTINGS.model_copy(update=complete))
    driver.fail_at(picture)
    program = stand_in("no GPU")

    assert_same(extracted(video, BY_GPU.model_copy(update=complete)), expected)
    assert program.starts == 1


@pytest.mark.parametrize("reading", ["sparse", "complete"])
def test_damage_is_for_the_decoders_of_ffmpeg_to_judge(reading: str, video: Path, stand_in: MakeStandIn) -> None:
    """A GPU that reports an error in the middle of a video decodes nothing of it."""
    settings = SETTINGS.model_copy(update={"reading": reading})
    expected = extracted(video, settings)
    wrecked(video, video.with_name("v.mp4.damaged"), (0.5,))
    program = stand_in("damaged copy")
    found = extracted(video, BY_GPU.model_copy(update={"reading": reading}))

    assert_same(found, expected)
    assert program.starts > 0


def test_an_error_at_the_end_counts_too(video: Path, stand_in: MakeStandIn) -> None:
    """A decoder that ends with an error has not given all frames."""
    whole = video.read_bytes()
    video.with_name("v.mp4.damaged").write_bytes(whole)
    assert len(read(video)[0]) == 96
    # without the last bytes of the last frame, where the index is in front of the frames
    fast = encode(video.with_name("fast.mp4"), source_frames(48), "-movflags", "faststart")
    fast.with_name("fast.mp4.damaged").write_bytes(fast.read_bytes()[:-300])
    stand_in("damaged copy")
    with pytest.raises(HardwareFailed), VideoReader(fast, hardware=True) as reader:
        list(reader)


def test_frames_in_nv12_are_those_of_the_cpu(video: Path, stand_in: MakeStandIn) -> None:
    """A sparse reading with every decoder of it by hardware."""
    expected = extracted(video, SETTINGS)
    program = stand_in("")

    assert_same(extracted(video, BY_GPU), expected)
    assert program.starts > 1


@pytest.mark.parametrize("kind", ["interlaced", "interlaced and turned", "turned", "wide pixels"])
def test_filters_take_nv12(kind: str, tmp_path: Path, stand_in: MakeStandIn) -> None:
    """Fields, rotation and pixels that are not square, as from ffmpeg's own decoders."""
    frames = woven(source_frames(60), 0) if "interlaced" in kind else source_frames(48)
    path = encode(tmp_path / "v.mp4", frames, *(("-vf", "setsar=4/3") if kind == "wide pixels" else ()))
    if "turned" in kind:
        ffmpeg("-display_rotation", "90", "-i", path, "-c", "copy", tmp_path / "turned.mp4")
        path = tmp_path / "turned.mp4"
    expected, plain = read(path)
    program = stand_in("")
    with VideoReader(path, shorter_side_pixels=min(expected[0].shape[:2]), hardware=True) as reader:
        found = list(reader)

    assert program.starts == (2 if "interlaced" in kind else 1)
    assert reader.log.is_interlaced(0) == plain.log.is_interlaced(0) == ("interlaced" in kind)
    assert np.array_equal(found, expected)
    assert reader.log.frame_times_seconds == plain.log.frame_times_seconds


def test_what_is_no_video_is_unreadable_for_the_same_reason(tmp_path: Path, stand_in: MakeStandIn) -> None:
    """The decoders of ffmpeg say why."""
    (tmp_path / "v.mp4").write_text("no video\n")
    stand_in("no GPU")
    with pytest.raises(UnreadableVideo) as caught:
        extracted(tmp_path / "v.mp4", BY_GPU)

    assert caught.value.reason == "not-a-video"


@pytest.mark.skipif(sys.platform != "linux", reason="other platforms do not limit the memory of other processes")
@pytest.mark.parametrize(
    ("hardware", "limited", "unlimited"),
    [(False, "Max address space", "Max data size"), (True, "Max data size", "Max address space")],
)
def test_memory_is_limited_without_the_address_space_of_cuda(
    hardware: bool, limited: str, unlimited: str, video: Path, stand_in: MakeStandIn
) -> None:
    """CUDA reserves more address space than there is memory, so that only data is limited."""
    import resource

    stand_in("")
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (2**40, before[1]))  # as the worker of a video limits itself
    try:
        decoder = Decoder(video, DecodeChoice(hardware=hardware), EVERYTHING, DecoderLimits(96, 10**6, 1024))
        limits = Path(f"/proc/{decoder._process.pid}/limits").read_text()
        assert resource.getrlimit(resource.RLIMIT_AS)[0] == 2**40
        decoder.close()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    rows = {line[:26].strip(): line[26:].split()[0] for line in limits.splitlines()}

    assert rows[limited] == str(2**30)
    assert rows[unlimited] == "unlimited"


@pytest.mark.parametrize(
    ("fault", "problem"),
    [("", ""), ("no GPU", "CUDA|cuda"), ("grey", "frames differ by")],
)
def test_a_small_video_shows_whether_a_gpu_decodes(
    fault: Fault, problem: str, tmp_path: Path, stand_in: MakeStandIn
) -> None:
    """It is compared with what the CPU decodes, because a driver can be wrong too."""
    stand_in(fault)
    found = hardware_problem(tmp_path, SETTINGS)

    assert bool(found) == bool(problem)
    assert not problem or any(word in found for word in problem.split("|"))
