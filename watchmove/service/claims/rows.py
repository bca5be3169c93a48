"""The rows of the claims: figures, intervals and verdicts, by tests that are named before anything is measured.

Figures of detectors are 11-point mean average precisions over seeds, compared by Welch's interval; those with frozen
layers are means over the levels. Figures of masks are IoUs over videos, compared in pairs by Student's interval. A
claim is `shown` if the whole 95 % interval of the difference that it claims is above 0, and `opposite` if it is below;
a claim of equality (`on par or better`) is shown if the interval is above a margin below 0.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from watchmove.pipeline.statistics.difference import Difference, difference_of, paired_difference_of
from watchmove.pipeline.statistics.forecast import fit_frames
from watchmove.service.claims.series import FROZEN_LEVELS, KNOWN

ON_PAR_MARGIN = 0.01
"""mAP by which features may be behind and still be on par. Set by hand, before any measurement."""


FEW_IMAGES = ", few images"
"""End of the keys of detectors on few images."""


def frozen_key(run: str, level: int) -> str:
    """The key of a run's detectors with `level` frozen convolutions; 0: none."""
    return f"{run}, conv1-{level} frozen" if level else run


class Comparison(BaseModel):
    """One comparison of a claim: two mean figures and their difference with its 95 % interval."""

    model_config = ConfigDict(frozen=True)

    what: str
    higher: float
    lower: float
    difference: float
    low: float | None
    high: float | None
    verdict: str
    enough: int | None
    """Number of seeds, or of videos, with which a difference of this size would be shown; None: not known, or above
    1000."""


class Claim(BaseModel):
    """One claim with its comparisons; its verdict is `shown` if all of them are, `opposite` if any of them is."""

    model_config = ConfigDict(frozen=True)

    name: str
    text: str
    comparisons: tuple[Comparison, ...]

    @property
    def verdict(self) -> str:
        """The verdict of the claim as a whole; a claim without a comparison is not shown."""
        verdicts = [comparison.verdict for comparison in self.comparisons]
        if "opposite" in verdicts:
            return "opposite"
        return "shown" if verdicts and set(verdicts) == {"shown"} else "not shown"


def compared(what: str, higher: Sequence[float], lower: Sequence[float], margin: float = 0.0) -> Comparison | None:
    """Compare independent figures; None if one side has none. With a `margin` the first may be that much lower."""
    if not higher or not lower:
        return None
    shifted = difference_of([value + margin for value in higher], lower)
    return _comparison(what, higher, lower, shifted, margin)


def compared_in_pairs(what: str, pairs: Sequence[tuple[float, float]]) -> Comparison | None:
    """Compare pairs of figures, each of the same video; None without pairs."""
    if not pairs:
        return None
    return _comparison(what, [one for one, _ in pairs], [two for _, two in pairs], paired_difference_of(pairs), 0.0)


def _comparison(
    what: str, higher: Sequence[float], lower: Sequence[float], found: Difference, margin: float
) -> Comparison:
    return Comparison(
        what=what,
        higher=sum(higher) / len(higher),
        lower=sum(lower) / len(lower),
        difference=found.mean - margin,
        low=None if found.low is None else found.low - margin,
        high=None if found.high is None else found.high - margin,
        verdict=found.verdict,
        enough=found.enough,
    )


def growth_claim(points: Sequence[tuple[int, float]]) -> Claim:
    """Make the claim that more frames are better, from the number of frames and the mAP of each detector.

    Its figures are those of the fitted line at the most and the fewest frames, and its difference is the line's rise
    for ten times the frames, with Student's interval.
    """
    curve = fit_frames([frames for frames, _ in points], [figure for _, figure in points])
    found: tuple[Comparison, ...] = ()
    if curve is not None:
        ends = curve.at(np.array([max(points)[0], min(points)[0]], np.float64))
        low, high = curve.slope_low, curve.slope_high
        comparison = Comparison(
            what="all frames against the fewest; the difference is that of ten times the frames",
            higher=float(ends[0]),
            lower=float(ends[1]),
            difference=curve.slope,
            low=low,
            high=high,
            verdict=Difference(curve.slope, low, high, None).verdict,
            enough=None,
        )
        found = (comparison,)
    return Claim(name="more-frames-better", text="More frames are better", comparisons=found)


def detection_claims(figures: Mapping[str, Sequence[float]]) -> list[Claim]:
    """Make the claims about detectors from mAPs over seeds.

    Keys are `random`, the names of runs, and these with FEW_IMAGES or as `frozen_key` makes them.
    """

    def versus(higher: str, lower: str, margin: float = 0.0) -> Comparison | None:
        return compared(f"{higher} against {lower}", figures.get(higher, ()), figures.get(lower, ()), margin)

    def frozen(run: str) -> list[float]:
        """The mean over frozen levels of each seed."""
        by_level = [figures[key] for key in (frozen_key(run, level) for level in FROZEN_LEVELS) if key in figures]
        return [sum(of_seed) / len(of_seed) for of_seed in zip(*by_level, strict=True)]

    def by_level(higher: str, lower: str) -> Comparison | None:
        return compared(f"{higher} against {lower}, mean over frozen levels", frozen(higher), frozen(lower))

    def claim(name: str, text: str, *found: Comparison | None) -> Claim:
        return Claim(name=name, text=text, comparisons=tuple(one for one in found if one is not None))

    return [
        claim(
            "beats-random",
            "Pretraining on masks from motion beats random initial weights",
            versus("masks", "random"),
            versus(f"masks{FEW_IMAGES}", f"random{FEW_IMAGES}"),
        ),
        claim(
            "on-par-with-others",
            "It is on par with or better than other self-supervision on the same frames",
            versus("masks", "rotation", ON_PAR_MARGIN),
            versus("masks", "colour", ON_PAR_MARGIN),
        ),
        claim(
            "stable-when-frozen",
            "Its features stay better than the others' as layers are frozen",
            by_level("masks", "random"),
            by_level("masks", "rotation"),
            by_level("masks", "colour"),
        ),
        claim(
            "not-the-frames",
            "It is the masks, and not the frames, that are learnt from",
            versus("masks", "shuffled"),
        ),
        claim(
            "true-masks-better",
            "True masks of the same frames are better",
            # where the truth is known of some frames only, on those
            versus("true", KNOWN if KNOWN in figures else "masks"),
        ),
        claim("labels-better", "Class supervision on the same frames is better still", versus("labels", "masks")),
    ]
