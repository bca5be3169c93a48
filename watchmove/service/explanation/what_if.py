"""The settings with which a rejected frame would be kept, as far as its record tells without decoding again."""

from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from pydantic import BaseModel, ConfigDict

from watchmove.pipeline.extraction.pruning import THRESHOLDS, Threshold
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.service.explanation.thresholds import WITHOUT_MASK, is_excused, kept_before, rank
from watchmove.service.records.frame_verdicts import FrameVerdict

_LEAST_WINDOW_FRAMES = 3
"""The least value of the setting `min_window_frames`."""

_ROUNDING = 0.00005
"""Largest error of a confidence in the metadata of a frame, which is rounded to four digits."""

_DIGITS = 2
"""Significant digits of a proposed setting."""

_ALWAYS = {
    "damaged": "a frame that was decoded from damaged data is always rejected",
}


class WhatIf(BaseModel):
    """Settings that let a frame pass the rules that it fails.

    `keeps` is True where the record shows that the frame is then kept, False where no setting keeps it, and None where
    that is not known; `because` says why in one clause, empty where `keeps` is True.
    """

    model_config = ConfigDict(frozen=True)

    settings: dict[str, float] = {}
    keeps: bool | None = None
    because: str = ""

    def in_words(self) -> str:
        """The clause that says what keeps the frame, without a capital and a full stop."""
        if self.keeps is False:
            return f"no setting keeps it: {self.because}"
        if not self.settings:
            return f"what would keep it is not known: {self.because}"
        changes = ", ".join(f"{name}={value:g}" for name, value in self.settings.items())
        return f"{changes} would keep it" if self.keeps else f"{changes} may keep it: {self.because}"


def what_if(frame: FrameVerdict, shot: Sequence[FrameVerdict], settings: ExtractionSettings) -> WhatIf | None:
    """Return what would keep a frame of a shot, or None if it is kept."""
    reason = frame.reject_reason
    if reason is None:
        return None
    if reason in _ALWAYS:
        return WhatIf(keeps=False, because=_ALWAYS[reason])
    if reason == "fade":
        return _trusted_fade(frame)
    if reason == "short-shot":
        return _longer_windows(frame)
    if reason == "near-duplicate":
        return _less_change(frame, shot)
    if reason == "over-quota":
        return _larger_quota(frame, shot, settings)
    if reason not in {rule.reason for rule in THRESHOLDS}:
        return WhatIf(because=f"this version has no rule for {reason}")
    return _other_limits(frame, shot, settings)


def proposed(value: float, *, is_least: bool) -> float:
    """Return a number of two significant digits that `value` just passes as a least, or as a largest, value."""
    exact = Decimal(repr(value))
    step = Decimal(1).scaleb(exact.adjusted() - _DIGITS + 1)
    return float(exact.quantize(step, ROUND_FLOOR if is_least else ROUND_CEILING)) if exact else 0.0


def _longer_windows(frame: FrameVerdict) -> WhatIf:
    count = frame.window_frames
    if count == 0:
        return WhatIf(because="the number of frames in its window is not recorded")
    if count < _LEAST_WINDOW_FRAMES:
        return WhatIf(keeps=False, because=f"its window has {count} different frames, and a mask needs at least 3")
    change = {"extract.min_window_frames": float(count)}
    return WhatIf(settings=change, because="no mask was computed, so no later rule was evaluated")


def _trusted_fade(frame: FrameVerdict) -> WhatIf:
    if frame.confidence == 0:
        return WhatIf(keeps=False, because="a frame of a fade or dissolve is rejected where no mask is found")
    change = {"extract.trusted_confidence": proposed(frame.confidence, is_least=True)}
    return WhatIf(settings=change, because="other rules may reject it, and what changes in a fade is not motion")


def _less_change(frame: FrameVerdict, shot: Sequence[FrameVerdict]) -> WhatIf:
    if frame.change is None:
        return WhatIf(because="its difference from the kept frames of its shot is not recorded")
    limit = proposed(frame.change, is_least=True)
    change = {"extract.min_change": limit}
    # with this limit, frames that come first in the shot may be kept too, and were not compared with this one
    others = [other for other in shot if other.reject_reason == "near-duplicate" and rank(other) < rank(frame)]
    if any(other.change is None or other.change >= limit for other in others):
        return WhatIf(settings=change, because="a more confident frame of its shot would be kept too, and may be equal")
    return WhatIf(settings=change, keeps=True)


def _larger_quota(frame: FrameVerdict, shot: Sequence[FrameVerdict], settings: ExtractionSettings) -> WhatIf:
    waiting = [other for other in shot if other.reject_reason == "over-quota" and rank(other) < rank(frame)]
    quota = {"extract.max_frames_per_shot": float(settings.max_frames_per_shot + len(waiting) + 1)}
    return WhatIf(settings=quota, because="it was not compared with the kept frames of its shot (extract.min_change)")


def _other_limits(frame: FrameVerdict, shot: Sequence[FrameVerdict], settings: ExtractionSettings) -> WhatIf:
    """What would keep a frame that is rejected for its own mask."""
    unknown = {rule.reason for rule in THRESHOLDS if rule.fact not in frame.facts}
    if frame.reject_reason in unknown:
        return WhatIf(because=f"what was measured for {frame.reject_reason} is not recorded")
    changes: dict[str, float] = {}
    for rule in _failed(frame, settings):
        if not rule.setting:
            return WhatIf(keeps=False, because="its mask is empty: it covers less than 0.1 % of the frame")
        value = frame.facts[rule.fact]
        if value < 0:
            return WhatIf(
                keeps=False, because=f"its {rule.fact} is {value:.4g}, and extract.{rule.setting} is not below 0"
            )
        changes[rule.setting] = proposed(value - _ROUNDING if unknown else value, is_least=rule.is_least)
    named = {f"extract.{name}": value for name, value in changes.items()}
    if not changes:  # rounded, the value passes
        return WhatIf(because="what was measured of it is recorded too coarsely")
    if unknown:
        return WhatIf(settings=named, because=_of_shot(frame, shot))
    first = [other for other in shot if rank(other) < rank(frame) and _may_be_good(other, settings, changes)]
    if not first:
        return WhatIf(settings=named, keeps=True)
    kept = kept_before(frame, shot)
    if len(kept) >= settings.max_frames_per_shot:
        return WhatIf(settings=named, because=f"{len(kept)} more confident frames of its shot fill the quota")
    return WhatIf(settings=named, because=_of_shot(frame, shot))


def _of_shot(frame: FrameVerdict, shot: Sequence[FrameVerdict]) -> str:
    count = len(kept_before(frame, shot))
    return (
        f"the rules after it, extract.min_change and extract.max_frames_per_shot, were not evaluated "
        f"({count} more confident frames of its shot are kept)"
    )


def _failed(frame: FrameVerdict, settings: ExtractionSettings) -> list[Threshold]:
    """The rules that the recorded facts of a frame fail."""
    return [
        rule
        for rule in THRESHOLDS
        if rule.fact in frame.facts
        and rule.rejects(frame.facts[rule.fact], rule.limit(settings))
        and not is_excused(rule, frame, settings)
    ]


def _may_be_good(frame: FrameVerdict, settings: ExtractionSettings, changes: dict[str, float]) -> bool:
    """Whether a frame of the same shot may pass all rules for its own mask with some settings changed."""
    if frame.reject_reason in (*WITHOUT_MASK, "fade"):
        return False
    failed = _failed(frame, settings.model_copy(update=changes))
    # connected parts are counted from `min_area_fraction` on, so a mask may be less scattered with a lower one
    excused = ("scattered",) if "min_area_fraction" in changes else ()
    return all(rule.reason in excused for rule in failed)
