"""Every threshold that a frame meets, with what was measured of it and the margin."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from watchmove.pipeline.extraction.pruning import REJECT_REASONS, THRESHOLDS, Threshold
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.service.records.frame_verdicts import FrameVerdict

OF_SHOT = (
    Threshold("near-duplicate", "change", "min_change", is_least=True),
    Threshold("over-quota", "more_confident_kept", "max_frames_per_shot", is_least=False),
)
"""The rules that compare a good frame with those of its shot that are kept and more confident."""

TOO_SHORT = Threshold("short-shot", "window_frames", "min_window_frames", is_least=True)
"""The rule for windows that are too short for a mask to be computed."""

WITHOUT_MASK = ("damaged", "short-shot")
"""Reject reasons of frames of which no mask is computed."""


class MetThreshold(BaseModel):
    """A threshold with what was measured of a frame.

    `setting` is the setting with the limit, empty where the limit is fixed; `relation` is that of a value which passes
    to the limit, `>=`, `<=` or `<`. `measured` is None where the record has no value, `margin` is above 0 by as much as
    the value is within the limit, below 0 where it is beyond, and `passes` is None where it is not known. `excused`
    says that a frame passes although the value is beyond, because its mask is trusted.
    """

    model_config = ConfigDict(frozen=True)

    reason: str
    fact: str
    setting: str
    relation: str
    limit: float
    measured: float | None
    margin: float | None
    passes: bool | None
    excused: bool = False


def met_thresholds(
    frame: FrameVerdict, shot: Sequence[FrameVerdict], settings: ExtractionSettings
) -> tuple[MetThreshold, ...]:
    """Return the thresholds that apply to a frame of a shot, in the order in which they are asked.

    A frame is rejected for the first that it fails. Where no value is recorded, the order tells which ones it passed.
    """
    if frame.reject_reason == "damaged":
        return ()
    rules: tuple[Threshold, ...] = (TOO_SHORT, *THRESHOLDS, *OF_SHOT)
    return tuple(_met(rule, frame, measured_of(rule, frame, shot), settings) for rule in rules)


def measured_of(rule: Threshold, frame: FrameVerdict, shot: Sequence[FrameVerdict]) -> float | None:
    """What the record has of the fact that a rule is about, or None."""
    if rule is TOO_SHORT:
        return frame.window_frames or None
    if rule.fact == "change":
        return frame.change
    if rule.fact == "more_confident_kept":
        # frames that an earlier rule rejects are not counted against the quota
        compared = frame.reject_reason in (None, "near-duplicate", "over-quota")
        return len(kept_before(frame, shot)) if compared else None
    return frame.facts.get(rule.fact)


def kept_before(frame: FrameVerdict, shot: Sequence[FrameVerdict]) -> list[FrameVerdict]:
    """The kept frames of a shot that were chosen before a frame: the more confident ones, of equal ones the earlier."""
    return [other for other in shot if other.reject_reason is None and rank(other) < rank(frame)]


def rank(frame: FrameVerdict) -> tuple[float, int]:
    """The place of a frame in the order in which the frames of a shot are chosen, by ascending ranks."""
    return -frame.confidence, frame.frame


def is_excused(rule: Threshold, frame: FrameVerdict, settings: ExtractionSettings) -> bool:
    """Whether a frame passes a rule because its mask is trusted; never where the record says that the rule rejects it,
    as records of versions without this exception do."""
    return frame.reject_reason != rule.reason and rule.excuses(frame.confidence, settings)


def _met(rule: Threshold, frame: FrameVerdict, measured: float | None, settings: ExtractionSettings) -> MetThreshold:
    limit, excused = rule.limit(settings), False
    relation = ">=" if rule.is_least else "<="
    margin = None if measured is None else (measured - limit if rule.is_least else limit - measured)
    if rule.fact == "more_confident_kept":
        # of as many frames as the quota, the last is preceded by one fewer
        passes, relation = None if measured is None else measured < limit, "<"
    elif measured is None:
        passes = _by_order(rule, frame)
    else:
        excused = rule.rejects(measured, limit) and is_excused(rule, frame, settings)
        passes = excused or not rule.rejects(measured, limit)
    return MetThreshold(
        reason=rule.reason,
        fact=rule.fact,
        setting=f"extract.{rule.setting}" if rule.setting else "",
        relation=relation,
        limit=limit,
        measured=measured,
        margin=margin,
        passes=passes,
        excused=excused,
    )


def _by_order(rule: Threshold, frame: FrameVerdict) -> bool | None:
    """Whether a frame passed a rule of which no value is recorded, as far as its reason tells."""
    if frame.reject_reason is None:
        return True
    if frame.reject_reason not in REJECT_REASONS or frame.reject_reason == "fade":
        # a fade is named whatever the other rules say
        return None
    if frame.reject_reason == "over-quota" and rule.reason == "near-duplicate":
        # once the quota is full, frames are not compared
        return None
    if rule.reason == frame.reject_reason:
        alone = [other.reason for other in THRESHOLDS].count(rule.reason) < 2
        return False if alone else None
    return True if REJECT_REASONS.index(rule.reason) < REJECT_REASONS.index(frame.reject_reason) else None
