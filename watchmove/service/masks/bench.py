"""`watchmove bench masks`: the quality of masks on annotated sequences, and the processor time they take.

J is the intersection over union of a frame's mask with the annotated one. The first and last frame of a sequence are
left out, and J is averaged over frames, then over sequences (DAVIS, Perazzi et al., CVPR 2016, section 4.1).
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from watchmove.pipeline.dataset.true_masks import jaccard
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.extraction.every_frame import MaskedFrame
from watchmove.pipeline.masks.choice import shot_segmenter
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.service.masks.cross_validation import SequenceScores, cross_validate, cross_validation_table
from watchmove.service.masks.davis_sequences import chosen_sequences, frames_with_truth
from watchmove.service.masks.reliability import as_json, reliability, reliability_table
from watchmove.service.runner.narrow_tables import cell, print_table

LEVELS = np.linspace(0.2, 0.8, 25)
"""Thresholds of the soft mask at which J is measured; the grid contains 0.5, the threshold of all headline figures."""
KEPT_SHARES = (0.1, 0.3, 0.4, 0.5, 0.7, 1.0)
"""Fractions of the most confident frames whose J is listed, to show how well confidence predicts J."""
_HALF = int(np.argmin(np.abs(LEVELS - 0.5)))  # the nearest level: linspace may miss 0.5 by a rounding error


@dataclass(frozen=True)
class ScoredFrame:
    """One frame: its J at each of LEVELS, the confidence of its mask, and its reject reason, None if it is kept."""

    sequence: str
    jaccard: NDArray[np.float64]
    confidence: float
    reject_reason: str | None


@dataclass
class MaskScores:
    """Scored frames, and processor seconds by stage over `counted` frames.

    The seconds include those of one DIS flow of the preset "medium" per frame, as a unit that is common to machines.
    """

    frames: list[ScoredFrame] = field(default_factory=list)
    seconds: Counter[str] = field(default_factory=Counter)
    counted: int = 0

    def add(self, frames: Sequence[ScoredFrame], stages: Counter[str], flow_seconds: float, counted: int) -> None:
        """Add a sequence of `counted` frames, of which the scored ones are in `frames`."""
        self.frames += frames
        self.seconds.update(stages)
        self.seconds["one DIS medium"] += flow_seconds  # type: ignore[assignment]
        self.counted += counted

    def facts(self) -> dict[str, object]:
        """Every figure, as plain JSON values."""
        by_sequence = {name: self._of(name) for name in sorted({frame.sequence for frame in self.frames})}
        # (sequences, levels): averaged over frames first, so that a long sequence does not count for more than others.
        levels = np.array([np.mean([frame.jaccard for frame in frames], axis=0) for frames in by_sequence.values()])
        kept = [frame for frame in self.frames if frame.reject_reason is None]
        spent = {name: 1000 * value / self.counted for name, value in self.seconds.items()}
        flow = spent.pop("one DIS medium")
        return {
            "sequences": len(by_sequence),
            "frames": len(self.frames),
            "J": float(levels[:, _HALF].mean()),
            "J_best_threshold_of_each_sequence": float(levels.max(axis=1).mean()),
            "J_by_confidence": {f"{share:.0%}": self._most_confident(share) for share in KEPT_SHARES},
            "kept_share": len(kept) / len(self.frames),
            "kept_J": _mean_j(kept),
            "kept_at_least_half_right": float(np.mean([frame.jaccard[_HALF] >= 0.5 for frame in kept] or [0])),
            "reject_reasons": dict(Counter(frame.reject_reason for frame in self.frames if frame.reject_reason)),
            "cpu_milliseconds_by_stage": spent,
            "cpu_milliseconds": sum(spent.values()),
            "dis_medium_milliseconds": flow,
            "ratio_to_dis_medium": sum(spent.values()) / flow,
            "reliability": as_json(
                reliability(
                    np.array([frame.confidence for frame in self.frames]),
                    np.array([frame.jaccard[_HALF] for frame in self.frames]),
                )
            ),
            "cross_validation": cross_validate([_scores_of(frames) for frames in by_sequence.values()]),
            "J_by_sequence": {name: _mean_j(frames) for name, frames in by_sequence.items()},
        }

    def _of(self, name: str) -> list[ScoredFrame]:
        return [frame for frame in self.frames if frame.sequence == name]

    def _most_confident(self, share: float) -> float:
        ordered = sorted(self.frames, key=lambda frame: -frame.confidence)
        return _mean_j(ordered[: max(1, round(share * len(ordered)))])


def _mean_j(frames: Sequence[ScoredFrame]) -> float:
    return float(np.mean([frame.jaccard[_HALF] for frame in frames])) if frames else 0.0


def _scores_of(frames: Sequence[ScoredFrame]) -> SequenceScores:
    facts = ((frame.jaccard, frame.confidence, frame.reject_reason in (None, "low-confidence")) for frame in frames)
    return SequenceScores(*(np.array(column) for column in zip(*facts, strict=True)))


def bench_masks(
    davis: Path,
    sequences: Sequence[str],
    most_frames: int,
    videos: Path | None,
    settings: ExtractionSettings,
    on_sequence: Callable[[int, int, str], None] = lambda *_: None,
) -> Iterator[MaskScores]:
    """Yield the scores so far after each sequence.

    `on_sequence` is called before each sequence, with the number of those done, that of all, and its name, and once
    after the last.

    `davis` contains JPEGImages/SEQUENCE/*.jpg and Annotations/SEQUENCE/*.png. If `videos` is given, frames are decoded
    from `SEQUENCE.mp4` in it instead of read from JPEGImages.

    Raises:
        InvalidInput: a sequence or folder does not exist, a frame cannot be read or has no annotation, or no frame is
            left to score.
    """
    # One thread, because processor time is measured; the segmenter is built now, so that a missing device or weights
    # file is named before any frame is decoded.
    cv2.setNumThreads(1)
    shot_segmenter(settings)
    scores = MaskScores()
    chosen = chosen_sequences(davis, sequences, videos)
    for number, name in enumerate(chosen):
        on_sequence(number, len(chosen), name)
        frames, truths = frames_with_truth(davis, name, most_frames, videos, settings)
        stages: Counter[str] = Counter()
        for frame in frames:
            stages.update(frame.stage_seconds)
        scored = [_scored(name, frame, truth) for frame, truth in zip(frames, truths, strict=True)][1:-1]
        scores.add(scored, stages, _seconds_of_dis_medium(frames), len(frames))
        yield scores
    on_sequence(len(chosen), len(chosen), "sequences")
    if not scores.frames:
        raise InvalidInput(f"{davis}: no frame to score; give a sequence of three frames or more")


def _scored(name: str, masked: MaskedFrame, truth: NDArray[np.bool_]) -> ScoredFrame:
    # J is measured at the annotation's size, whatever the working size of the masks is.
    soft = cv2.resize(masked.found.soft_mask, truth.shape[::-1], interpolation=cv2.INTER_LINEAR)
    by_level = np.array([jaccard(soft >= level, truth) for level in LEVELS])
    return ScoredFrame(name, by_level, masked.found.confidence, masked.found.reject_reason)


def _seconds_of_dis_medium(frames: Sequence[MaskedFrame]) -> float:
    """Processor seconds of DIS flow with the preset "medium" from every frame to the next."""
    greys = [cv2.cvtColor(np.asarray(frame.frame.image), cv2.COLOR_RGB2GRAY) for frame in frames]
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    start = time.process_time()
    # The last frame is paired with the first, so that there is one flow for each frame.
    for first, second in zip(greys, [*greys[1:], greys[0]], strict=True):
        estimator.calc(first, second, None)  # type: ignore[call-overload]
    return time.process_time() - start


def print_mask_scores(facts: dict[str, Any], console: Console, *, as_json: bool) -> None:
    """Print the figures of `MaskScores.facts`, as tables or as JSON."""
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    print_table(console, _summary(facts))
    print_table(console, _pairs("processor time per frame", "ms", facts["cpu_milliseconds_by_stage"], "{:.1f}"))
    print_table(console, _pairs("J of the most confident frames", "J", facts["J_by_confidence"], "{:.3f}"))
    print_table(console, reliability_table(facts["reliability"]))
    if facts["cross_validation"]:
        print_table(console, cross_validation_table(facts["cross_validation"]))
    print_table(console, _pairs("rejected frames", "frames", facts["reject_reasons"], "{}"))
    print_table(console, _pairs("sequences", "J", facts["J_by_sequence"], "{:.3f}"))


def _summary(facts: dict[str, Any]) -> Table:
    table = Table("", "value", title=f"{facts['frames']} frames of {facts['sequences']} sequences")
    for name, value in (
        ("J", f"{facts['J']:.3f}"),
        ("J at the best threshold of each sequence", f"{facts['J_best_threshold_of_each_sequence']:.3f}"),
        ("frames kept by default", f"{facts['kept_share']:.1%}"),
        ("J of the kept frames, mean over frames", f"{facts['kept_J']:.3f}"),
        ("kept frames with J of at least 0.5", f"{facts['kept_at_least_half_right']:.1%}"),
        ("processor time per frame", f"{facts['cpu_milliseconds']:.1f} ms"),
        ('one DIS flow, preset "medium"', f"{facts['dis_medium_milliseconds']:.1f} ms"),
        ("ratio of the two times", f"{facts['ratio_to_dis_medium']:.2f}"),
    ):
        table.add_row(name, value)
    return table


def _pairs(title: str, unit: str, values: dict[str, Any], form: str) -> Table:
    table = Table("", unit, title=title)
    for name, value in values.items():
        table.add_row(cell(name), form.format(value))
    return table
