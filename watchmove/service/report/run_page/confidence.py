"""The chart of confidence against the area of the mask, from the recorded verdicts on examined frames."""

import gzip
import re
import zlib
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.records.datasets import evenly_chosen
from watchmove.service.records.frame_verdicts import FrameVerdict
from watchmove.service.records.outcomes import ShardRecord
from watchmove.service.records.record import from_json_lines
from watchmove.service.records.stream import read_ahead
from watchmove.service.report.images import new_chart
from watchmove.service.store.store import Store

MOST_POINTS = 2000
"""Most frames that the chart shows, chosen evenly: more only cover each other. Set by hand."""
_MOST_PARTS = 8
"""Most files of verdicts that are read, chosen evenly. Set by hand: each is read as a whole."""
_AUDIT = re.compile(r"-[0-9a-f]+\.audit\.tar$")
"""What the key of a part's tar of rejected frames has in place of the end of its record's key."""


def verdicts_of(store: Store, audit_keys: Sequence[str]) -> list[FrameVerdict]:
    """Return verdicts on frames whose mask was measured, of the parts that have these tars of rejected frames.

    Parts of versions that recorded none have none.

    Raises:
        InvalidInput: a file of verdicts is damaged.
        Unavailable: the store cannot be reached.
    """
    keys = [_AUDIT.sub(".json", key) for key in evenly_chosen(audit_keys, _MOST_PARTS) if _AUDIT.search(key)]
    found = [verdict for _, part in read_ahead(store, keys, ShardRecord) for verdict in _of_part(store, part)]
    return evenly_chosen(found, MOST_POINTS)


def _of_part(store: Store, part: ShardRecord) -> list[FrameVerdict]:
    where = f"{store.uri}/{part.verdicts_key}"
    content = store.read(part.verdicts_key) if part.verdicts_key else None
    try:
        lines = gzip.decompress(content or b"")
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInput(f"{where}: damaged ({error}); remove the shard's record to extract it again") from error
    return [
        verdict for verdict in from_json_lines(lines, FrameVerdict, where) if verdict.facts.get("area_fraction", 0) > 0
    ]


def confidence_figure(verdicts: Sequence[FrameVerdict]) -> Figure | None:
    """Draw the confidence of each frame over the part of the frame that its mask covers; None without frames."""
    if not verdicts:
        return None
    figure, axes = new_chart(3.6, top_inches=0.32)
    for name, colour, marker, kept in (("rejected", "#888888", "x", False), ("kept", "#cc3333", "o", True)):
        areas, confidences = _points(verdicts, kept=kept)
        if areas:
            axes.plot(areas, confidences, marker, color=colour, markersize=3, alpha=0.6, label=name)
    axes.set_xscale("log")
    # so that there are powers of ten to label, as plain numbers: the parser of superscripts takes longer than the chart
    axes.set_xlim(min(0.08, min(verdict.facts["area_fraction"] for verdict in verdicts) / 1.2), 1)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("part of the frame that the mask covers")
    axes.set_ylabel("confidence")
    axes.set_ylim(0, 1.02)
    # above the points: to find a place among them, Matplotlib compares it with each
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0)
    return figure


def _points(verdicts: Sequence[FrameVerdict], *, kept: bool) -> tuple[list[float], list[float]]:
    """The areas and confidences of the kept or of the rejected frames."""
    chosen = [verdict for verdict in verdicts if (verdict.reject_reason is None) == kept]
    return [verdict.facts["area_fraction"] for verdict in chosen], [verdict.confidence for verdict in chosen]
