"""The page of a comparison: one HTML file that stands alone, without scripts."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jinja2 import Environment
from numpy.typing import NDArray

from watchmove.pipeline.arrays import Image
from watchmove.pipeline.dataset.shard import Sample
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.atomic import write_bytes
from watchmove.service.report.html_pages import html_environment
from watchmove.service.report.images import drawn_mask, frame_of, scaled_jpeg_uri
from watchmove.service.report.run_comparison.common_frames import CommonFrame
from watchmove.service.report.run_comparison.differences import CountDifference, FrameDifference, RunComparison

LONGER_SIDE_PIXELS = 320
"""Longer side of the images, so that one fits on a telephone. Set by hand."""
MOST_IMAGE_BYTES = 2_700_000
"""Most bytes of all images as text: the page is to be less than 3 MB, and the rest of it takes far less than 0.3 MB."""

_GENERATOR = '<meta name="generator" content="watchmove compare">'
"""By this line a file is known to be such a page."""
_HEAD_BYTES = 500


class _ShownFrame(NamedTuple):
    """A frame as the page shows it: both images as data URIs, of equal size in pixels."""

    facts: FrameDifference
    image_a: str
    image_b: str
    width: int
    height: int


class _Yield(NamedTuple):
    """A count of both runs, and each one's share of all; None where there is nothing to share."""

    row: CountDifference
    share_a: float | None
    share_b: float | None


def check_place(path: Path) -> None:
    """Raise InvalidInput if something is at `path` that is no earlier page of a comparison, or cannot be read."""
    try:
        with path.open("rb") as file:
            ours = _GENERATOR.encode() in file.read(_HEAD_BYTES)
    except FileNotFoundError:
        return
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be written ({error.strerror}); name another file with --out") from error
    if not ours:
        raise InvalidInput(f"{path}: is there, and is no page of a comparison; name another file with --out")


def write_page(path: Path, found: RunComparison, frames: Sequence[CommonFrame]) -> None:
    """Write the page; `frames` are those of `frames_shown`, in its order. Raises as `check_place` and `write_bytes`."""
    check_place(path)
    write_bytes(path, page_of(found, frames).encode())


def page_of(found: RunComparison, frames: Sequence[CommonFrame]) -> str:
    """Return the page as HTML; `frames` are those of `frames_shown`, in its order. Of too many bytes, the last go."""
    facts = found.masks.frames_shown if found.masks else ()
    return (
        _environment()
        .get_template("compare.html.j2")
        .render(
            found=found,
            generator=_GENERATOR,
            settings=[row for row in found.settings if not row.of_machine],
            machine=[row for row in found.settings if row.of_machine],
            frame_yields=_yields(found.frames),
            video_yields=_yields(found.videos),
            shown=list(_that_fit(facts, frames)),
        )
    )


def _that_fit(facts: Sequence[FrameDifference], frames: Sequence[CommonFrame]) -> Iterator[_ShownFrame]:
    left = MOST_IMAGE_BYTES
    for row, frame in zip(facts, frames, strict=True):
        shown = _shown(row, frame)
        if shown is not None:
            left -= len(shown.image_a) + len(shown.image_b)
            if left < 0:
                return
            yield shown


def _shown(facts: FrameDifference, frame: CommonFrame) -> _ShownFrame | None:
    """Both images of a frame; where a run has no mask, the other run's image without one. None if none decodes."""
    plain = _plain(frame.sample_a or frame.sample_b)
    images = [_drawn(sample, plain) for sample in (frame.sample_a, frame.sample_b)]
    if images[0] is None or images[1] is None:
        return None
    rows, columns = images[0].shape[:2]
    scale = LONGER_SIDE_PIXELS / max(rows, columns)
    width, height = max(1, round(columns * scale)), max(1, round(rows * scale))
    return _ShownFrame(
        facts, scaled_jpeg_uri(images[0], width, height), scaled_jpeg_uri(images[1], width, height), width, height
    )


def _plain(sample: Sample | None) -> Image | None:
    return frame_of(sample) if sample else None


def _drawn(sample: Sample | None, plain: Image | None) -> NDArray[np.uint8] | None:
    drawn = drawn_mask(sample) if sample else None
    return plain if drawn is None else drawn


def _yields(counts: Sequence[CountDifference]) -> list[_Yield]:
    all_a, all_b = (sum(values) for values in ([row.a or 0 for row in counts], [row.b or 0 for row in counts]))
    return [
        _Yield(row, (row.a or 0) / all_a if all_a else None, (row.b or 0) / all_b if all_b else None) for row in counts
    ]


def _value(value: object) -> str:
    """A setting's value as text; None where a version does not have the setting or it is null."""
    if value is None:
        return "not set"
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def _signed(value: float, form: str) -> str:
    """A difference with its sign, a minus sign as in the headings; 0 has none."""
    text = f"{value:+{form}}"
    return text[1:] if not text.strip("+-0.") else text.replace("-", "−")


def _environment() -> Environment:
    environment = html_environment("watchmove.service.report")
    environment.filters["count"] = lambda value: "–" if value is None else f"{value:,}"
    environment.filters["change"] = lambda value: "–" if value is None else _signed(value, ",")
    environment.filters["figure"] = lambda value: "–" if value is None else f"{value:.3f}"
    environment.filters["difference"] = lambda value: "–" if value is None else _signed(value, "z.3f")
    environment.filters["percent"] = lambda value: "" if value is None else f"{100 * value:.1f} %"
    environment.filters["points"] = lambda value: f"{_signed(100 * value, 'z.1f')} points"
    environment.filters["value"] = _value
    return environment
