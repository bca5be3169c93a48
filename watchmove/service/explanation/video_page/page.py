"""The page of a video: HTML without scripts, whose pictures and MP4 are files beside it."""

from collections.abc import Mapping
from typing import NamedTuple

from jinja2 import Environment

from watchmove.pipeline.files.text_lines import without_credentials
from watchmove.pipeline.settings.pretraining import PretrainingSettings
from watchmove.service.explanation.answer import Answer, FrameAnswer
from watchmove.service.explanation.thresholds import MetThreshold
from watchmove.service.explanation.video_page.found_video import FoundVideo, RunOfVideo
from watchmove.service.explanation.video_page.pictures import StoredFrame
from watchmove.service.explanation.video_page.time_line import TimeLine
from watchmove.service.report.html_pages import html_environment
from watchmove.service.settings.settings import Settings

GENERATOR = '<meta name="generator" content="watchmove show">'
"""By this line a file is known to be such a page."""

_RELATIONS = {">=": "≥", "<=": "≤", "<": "<"}


class Shown(NamedTuple):
    """All that a page says: the video in its runs, the answer of the shown run, and what files are beside the page.

    settings: those that extracted the video; training: those of the run that read its masks; movie: the file of the
    MP4, empty where there is none, for the reason `without_movie`; ended_early: why it does not go to the end.
    """

    found: FoundVideo
    answer: Answer
    settings: Settings
    training: PretrainingSettings
    stored: Mapping[int, StoredFrame]
    line: TimeLine | None
    movie: str
    without_movie: str
    ended_early: str


class _Frame(NamedTuple):
    """A sampled frame: what `why` says of it, its pictures if they are stored, and the rule to name in one line."""

    answer: FrameAnswer
    stored: StoredFrame | None
    deciding: MetThreshold | None


def page_of(shown: Shown) -> str:
    """Return the page as HTML."""
    frames = [_Frame(one, shown.stored.get(one.verdict.frame), _deciding(one)) for one in shown.answer.frames]
    with_picture = [frame for frame in frames if frame.stored]
    this = shown.found.shown
    return (
        _environment()
        .get_template("video.html.j2")
        .render(
            generator=GENERATOR,
            shown=shown,
            video=(shown.answer.record or this).video,
            source=without_credentials(this.place),
            lead=_lead(shown),
            runs=[this, *shown.found.others],
            frames=frames,
            kept=[frame for frame in with_picture if frame.answer.verdict.reject_reason is None],
            rejected=[frame for frame in with_picture if frame.answer.verdict.reject_reason is not None],
            made_by=(this.counts.part if this.counts else this.plan).made_by,
        )
    )


def _deciding(frame: FrameAnswer) -> MetThreshold | None:
    """The first threshold that a rejected frame fails; of a kept one, that which it passes by the least part of it."""
    failed = [met for met in frame.thresholds if met.passes is False and met.reason == frame.verdict.reject_reason]
    if frame.verdict.reject_reason is not None:
        return failed[0] if failed else None
    near = [met for met in frame.thresholds if met.margin is not None and met.limit and not met.excused]
    return min(near, key=lambda met: abs(met.margin or 0.0) / met.limit, default=None)


def _lead(shown: Shown) -> str:
    """What came of the video, in one sentence."""
    answer, run = shown.answer, shown.found.shown.run
    if answer.record is None:
        return f"Run {run} has planned this video and not extracted it yet."
    row = answer.record
    if not answer.examined:
        reason = f": {row.reason}" if row.reason else ""
        return f"Run {run} has no frame of this video, which ended as {row.outcome}{reason}."
    kept = f"keeps {row.frames_kept or 'none'} of the {answer.examined} frames that it examined"
    return f"Run {run} {kept}, of {row.frames_seen:,} in the video."


def _ended(one: RunOfVideo) -> str:
    """How a run's video ended, with the attempts before if there are several."""
    if one.counts is None:
        return "not extracted yet"
    rows = [attempt.row for attempt in one.attempts]
    words = [f"{row.outcome}: {row.reason}" if row.reason else str(row.outcome) for row in rows]
    row = one.counts.row
    ended = f"{row.outcome}: {row.reason}" if row.reason else str(row.outcome)
    return ended if len(rows) == 1 else f"{ended} ({len(rows)} attempts: {', then '.join(words)})"


def _bytes(count: int) -> str:
    """A size in the unit that gives it fewest digits before the point."""
    size, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{count:,} bytes" if unit == "bytes" else f"{size:.1f} {unit} ({count:,} bytes)"


def _signed(value: float) -> str:
    return f"{value:+.4g}".replace("-", "−")


def _environment() -> Environment:
    environment = html_environment("watchmove.service.explanation.video_page")
    environment.filters |= {"bytes": _bytes, "signed": _signed, "ended": _ended}
    environment.filters["rule"] = lambda met: f"{met.fact} {_RELATIONS[met.relation]} {met.limit:.4g}"
    environment.filters["figure"] = lambda value: f"{value:.4g}"
    return environment
