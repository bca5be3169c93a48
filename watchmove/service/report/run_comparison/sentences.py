"""The two sentences of a comparison: what differs between two runs, and what came of it."""

from collections.abc import Iterator, Sequence

from watchmove.service.records.training import PRETRAINED
from watchmove.service.report.run_comparison.differences import FigureDifference, RunComparison

_NAMED_SETTINGS = 3
"""Most differing settings that the sentence names; the table has all. Set by hand."""


def sentences(found: RunComparison) -> tuple[str, str]:
    """Say what differs and what came of it, from the figures, and claim no more than their intervals show."""
    results = [clause for clause in (_yield(found), _masks(found), _figures(found)) if clause]
    text = "; ".join(results)
    return f"{_what_differs(found)}.", f"{text[:1].upper()}{text[1:]}."


def _what_differs(found: RunComparison) -> str:
    a, b = found.a, found.b
    parts = list(_differences(found))
    start = f"Run {b.run} (B) differs from run {a.run} (A) {_joined(parts)}"
    if not parts:
        start = f"Run {b.run} (B) has the same settings as run {a.run} (A), apart from those of the machine"
    return f"{start}; its masks are the same, as {found.same_masks}" if found.same_masks else start


def _differences(found: RunComparison) -> Iterator[str]:
    a, b = found.a, found.b
    names = [row.name for row in found.settings if not row.of_machine]
    if names:
        more = f" and {len(names) - _NAMED_SETTINGS} more" if len(names) > _NAMED_SETTINGS else ""
        listed = ", ".join(names[:_NAMED_SETTINGS])
        yield f"in {len(names)} {'setting' if len(names) == 1 else 'settings'} ({listed}{more})"
    if a.version != b.version:
        yield f"in the version of watchmove ({b.version} instead of {a.version})"
    if a.masks_from != b.masks_from:
        yield f"in where its masks are from ({b.masks_from} instead of {a.masks_from})"
    elif a.recipe != b.recipe and not any(name.startswith("extract.") for name in names):
        yield "in the recipe of extraction"
    for row in found.counts:
        if row.name == "videos listed" and row.difference:
            yield f"in the number of videos ({row.b:,} instead of {row.a:,})"


def _joined(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), *parts[-1:]] if len(parts) > 1 else parts)


def _yield(found: RunComparison) -> str:
    counts = {row.name: row for row in found.counts}
    kept, sampled = counts["frames kept"], counts["frames sampled"]
    if (kept.a, sampled.a) == (kept.b, sampled.b):
        return f"both runs keep {_share(kept.a, sampled.a)}"
    return f"B keeps {_share(kept.b, sampled.b)}, and A {_share(kept.a, sampled.a)}"


def _share(kept: int | None, sampled: int | None) -> str:
    if not sampled or kept is None:
        return "no frame, as none is sampled"
    return f"{kept:,} of {sampled:,} sampled frames ({100 * kept / sampled:.1f} %)"


def _masks(found: RunComparison) -> str:
    masks = found.masks
    if masks is None:
        return ""
    if masks.mean_iou is None:
        return "no frame is kept by both, so no masks are compared"
    return f"the masks of {masks.masks_compared:,} frames that both keep have a mean IoU of {masks.mean_iou:.3f}"


def _figures(found: RunComparison) -> str:
    if found.not_comparable:
        return f"the mAPs are not comparable, as {found.not_comparable}"
    rows = [row for row in found.figures if row.initialisation == PRETRAINED and row.a and row.b]
    if rows:
        return _of_pretrained(min(rows, key=lambda row: row.freeze_through))
    known_a, known_b = any(row.a for row in found.figures), any(row.b for row in found.figures)
    if known_a and known_b:
        return "no mAP of pretrained trunks is compared, as the runs do not share one"
    return f"no mAP is compared, as {'B has none' if known_a else 'A has none' if known_b else 'neither run has one'}"


def _of_pretrained(row: FigureDifference) -> str:
    if row.difference is None or row.verdict == "the same detectors":
        return "the mAPs of the pretrained trunks are those of the same detectors"
    frozen = f" with {row.freeze_through} frozen convolutions" if row.freeze_through else ""
    higher = "higher" if row.difference >= 0 else "lower"
    fact = f"the mAP of pretrained trunks{frozen} is {abs(row.difference):.3f} {higher} in B"
    if row.low is None or row.high is None:
        return f"{fact}, which shows nothing, as a single seed has no spread"
    interval = f"95 % interval {row.low:+z.3f} to {row.high:+z.3f}".replace("-", "−")
    over_pretraining = all(spread and spread.over == "pretraining seeds" for spread in (row.a, row.b))
    seeds = "the seeds" if over_pretraining else "the detector's seeds, without that of pretraining"
    if row.verdict == "not shown":
        return f"{fact}, which is within the spread of {seeds} ({interval}): no difference is shown"
    return f"{fact}, which is more than the spread of {seeds} ({interval})"
