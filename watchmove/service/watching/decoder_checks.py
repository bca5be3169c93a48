"""Checks of ffmpeg: its version, its decoders, a drawn video that is decoded as any other, and one by the GPU."""

import re
import subprocess
from collections.abc import Iterator

import numpy as np

from watchmove.pipeline.arrays import Image
from watchmove.pipeline.errors import InvalidInput, Unavailable, UnreadableVideo
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.encoder import write_video
from watchmove.pipeline.video.ffmpeg_commands import ffmpeg_executable
from watchmove.pipeline.video.frames import hardware_problem, open_video
from watchmove.service.extraction.pipeline import HARDWARE_REMEDY
from watchmove.service.runner.scratch_folder import scratch_folder
from watchmove.service.settings.settings import Settings
from watchmove.service.watching.checks import Check, failed, not_checked, ok, warning

_LEAST_VERSION = (5, 1)
"""The least ffmpeg whose log has what the reader of videos needs; see watchmove/pipeline/video/ffmpeg.py."""
_VERSION = re.compile(r"^ffmpeg version (n?(\d+)\.(\d+)\S*|\S+)")
_DECODER = re.compile(r"^ V\S{5} (\S+)", re.MULTILINE)
"""A decoder of video in the list of ffmpeg."""
_CODECS = {
    "H.264": {"h264"},
    "HEVC": {"hevc"},
    "VP8": {"vp8", "libvpx"},
    "VP9": {"vp9", "libvpx-vp9"},
    "AV1": {"libdav1d", "libaom-av1"},  # the decoder `av1` needs a GPU
    "MPEG-1": {"mpeg1video"},
    "MPEG-2": {"mpeg2video"},
    "MPEG-4": {"mpeg4"},
    "H.263": {"h263"},
    "Motion JPEG": {"mjpeg"},
    "ProRes": {"prores"},
    "DV": {"dvvideo"},
    "Theora": {"theora"},
    "Windows Media Video": {"wmv2", "wmv3"},
}
"""Codecs of videos in general use, and ffmpeg's decoders of which one is needed."""
_SECONDS = 60
"""Longest wait for ffmpeg to list what it has. Set by hand; not tuned."""
_HEIGHT, _WIDTH, _FRAMES = 48, 64, 4
"""The drawn video: small, and of more than one frame. Set by hand."""
_LEFT, _RIGHT = (200, 60, 60), (60, 60, 200)
"""Colours of the halves of its frames, in RGB: different in red and blue, so that exchanged channels are found."""
_MOST_DIFFERENCE = 12
"""Largest difference of a half's mean colour, in levels of 255: encoding changes it by a few. Set by hand."""


def decoder_checks(settings: Settings) -> Iterator[Check]:
    """Yield the checks of ffmpeg, of its codecs, of decoding, and of decoding by hardware where settings ask for it."""
    try:
        said = _said("-version")
        decoders = set(_DECODER.findall(_said("-decoders")))
    # imageio-ffmpeg raises a RuntimeError where its wheel has no program
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        yield failed("ffmpeg", f"no ffmpeg starts: {error}", "Install ffmpeg 5.1 or later.")
        yield from (not_checked(name, "no ffmpeg starts") for name in ("codecs", "decoding"))
        return
    yield version_check(ffmpeg_executable(), said)
    yield codecs_check(decoders)
    yield _decoding(settings)
    if settings.extract.hardware_decoding:
        yield _hardware(settings)


def _said(option: str) -> str:
    words = [ffmpeg_executable(), "-hide_banner", option]
    done = subprocess.run(words, capture_output=True, timeout=_SECONDS, check=True, stdin=subprocess.DEVNULL)
    return done.stdout.decode(errors="replace")


def version_check(program: str, said: str) -> Check:
    """The check of the version in the first line of what ffmpeg says; development builds have no number."""
    found = _VERSION.match(said)
    version = found[1] if found else "unknown"
    if found and found[2] and (int(found[2]), int(found[3])) < _LEAST_VERSION:
        remedy = "Install ffmpeg 5.1 or later; without one on the PATH, that of the package imageio-ffmpeg is used."
        return failed("ffmpeg", f"{program} has version {version}", remedy)
    return ok("ffmpeg", f"{program}, version {version}")


def codecs_check(decoders: set[str]) -> Check:
    """The check of the names of ffmpeg's decoders against the codecs of videos in general use."""
    missing = [codec for codec, names in _CODECS.items() if names.isdisjoint(decoders)]
    if missing:
        remedy = "Install an ffmpeg with these decoders, if there are such videos."
        return warning("codecs", f"videos of these codecs end as unreadable: {', '.join(missing)}", remedy)
    return ok("codecs", ", ".join(_CODECS))


def _decoding(settings: Settings) -> Check:
    frame = np.empty((_HEIGHT, _WIDTH, 3), np.uint8)
    frame[:, : _WIDTH // 2], frame[:, _WIDTH // 2 :] = _LEFT, _RIGHT
    try:
        with scratch_folder(settings.work.scratch) as folder:
            path = folder / "drawn.mp4"
            try:
                write_video(path, [frame] * _FRAMES, frames_per_second=25)  # any rate would do
            except Unavailable as error:
                finding = f"no H.264 can be written, so that no drawn frame could be decoded: {error}"
                remedy = "Install an ffmpeg with libx264, which drawn worlds and `watchmove segment` need."
                return warning("decoding", finding, remedy)
            by_ffmpeg = settings.extract.model_copy(update={"hardware_decoding": False})
            with open_video(path, by_ffmpeg, max_frames=None) as reader:
                return frames_check(list(reader), settings.extract)
    except InvalidInput as error:
        return not_checked("decoding", f"there is no scratch folder: {error}")
    except (Unavailable, UnreadableVideo) as error:
        remedy = (
            "Install another ffmpeg, or raise extract.decoder_memory_mebibytes and extract.decoder_timeout_seconds."
        )
        return failed("decoding", f"a drawn video cannot be decoded: {error}", remedy)


def _hardware(settings: Settings) -> Check:
    name = "hardware decoding"
    try:
        with scratch_folder(settings.work.scratch) as folder:
            problem = hardware_problem(folder, settings.extract)
    except InvalidInput as error:
        return not_checked(name, f"there is no scratch folder: {error}")
    if problem:
        return warning(name, f"videos will be decoded on the CPU: {problem}", HARDWARE_REMEDY)
    return ok(name, "the GPU decodes a small video of H.264 as the CPU does")


def frames_check(images: list[Image], settings: ExtractionSettings) -> Check:
    """The check of the drawn video's decoded frames, each (H, W, 3) uint8 RGB: their number, size and colours."""
    shapes = {image.shape for image in images}
    if len(images) != _FRAMES or {min(height, width) for height, width, _ in shapes} != {settings.shorter_side_pixels}:
        finding = f"of {_FRAMES} drawn frames {len(images)} were decoded, with shapes {sorted(shapes)}"
        return failed("decoding", finding, "Install another ffmpeg.")
    difference = max(_difference(image) for image in images)
    if difference > _MOST_DIFFERENCE:
        finding = f"the colours of a drawn video are wrong by {difference:.0f} of 255 levels"
        return failed("decoding", finding, "Install another ffmpeg.")
    return ok("decoding", f"{_FRAMES} drawn frames, colours right to {difference:.0f} of 255 levels")


def _difference(image: Image) -> float:
    """Largest difference between the mean colour of a half of the frame, (H, W, 3) RGB, and the drawn one."""
    middle = image.shape[1] // 2
    halves = ((image[:, :middle], _LEFT), (image[:, middle:], _RIGHT))
    return max(float(np.abs(half.mean(axis=(0, 1)) - colour).max()) for half, colour in halves)
