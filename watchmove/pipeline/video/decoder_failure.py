"""Why a decoder gave no frame, from the lines of its log."""

from collections.abc import Sequence

UNREADABLE_REASONS = (
    "missing-file",
    "empty-file",
    "not-a-video",
    "truncated",
    "no-picture-stream",
    "absurd-size",
    "too-short",
    "decoder-timeout",
    "decoder-memory",
    "decoder-failed",
)
"""Why a video cannot be read: the closed list of `UnreadableVideo.reason`."""

_RULES: tuple[tuple[str, str], ...] = (
    ("Cannot allocate memory", "decoder-memory"),
    ("exceeds specified max pixel count", "absurd-size"),
    ("Picture size", "absurd-size"),
)

_NO_FRAME = "Output file is empty"
"""How ffmpeg's warning begins at the end of a stream without frames, before a line with numbers of frames and bytes."""


def failure_reason(lines: Sequence[str], exit_status: int, *, is_opened: bool, has_film: bool) -> str:
    """Which of UNREADABLE_REASONS holds for a decoder that decoded no frame and ended with `exit_status`.

    `lines` are the first and last messages of its log, `is_opened` says whether the format of the file is known, and
    `has_film` whether the file has a stream that is a video.
    """
    if not lines and exit_status < 0:
        return "decoder-memory"  # killed before its first message: not even the program fitted into the limit
    # phrases first, because a decoder that fails early does not describe its input either
    messages = [line for line in lines if not line.startswith("    ")]  # without titles and other text of the file
    for phrase, reason in _RULES:
        if any(phrase in line for line in messages):
            return reason
    if not is_opened:
        # an MP4 without its index was cut off, unless ffmpeg doubts that the file is an MP4
        text = "\n".join(messages)
        truncated = "moov atom not found" in text and "misdetection possible" not in text
        return "truncated" if truncated else "not-a-video"
    return "decoder-failed" if has_film else "no-picture-stream"


def failure_message(lines: Sequence[str], first_error: str) -> str:
    """The first error of a log, or else what its last lines say, for a message of one line."""
    if first_error.startswith("Format not on whitelist"):  # which is followed by the list
        return "its format is not that of a video, such as a playlist, which can name other files"
    if not first_error and any(line.startswith(_NO_FRAME) for line in lines):
        return "its stream has no frame that is shown"
    return first_error or (lines[-1].strip() if lines else "ffmpeg wrote no message")
