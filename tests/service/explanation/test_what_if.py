"""What would keep a frame, for frames whose measured values are made up, so that every answer is known."""

from dataclasses import asdict, replace

import pytest

from tests.pipeline.extraction.test_pruning import GOOD, SETTINGS
from watchmove.pipeline.extraction.pruning import THRESHOLDS
from watchmove.service.cli.answer_lines import _of_threshold, _passed
from watchmove.service.explanation.thresholds import met_thresholds
from watchmove.service.explanation.what_if import WhatIf, proposed, what_if
from watchmove.service.records.frame_verdicts import FrameVerdict


def frame(number: int = 0, reason: str | None = None, change: float | None = None, **facts: float) -> FrameVerdict:
    """The verdict on a frame of shot 0, whose facts are good except for those that are given."""
    measured = replace(GOOD, **facts)
    return FrameVerdict(
        frame=number,
        time_seconds=0.0,
        shot=0,
        confidence=measured.confidence,
        reject_reason=reason,
        window_frames=16,
        facts=asdict(measured),
        change=change,
    )


def asked(verdict: FrameVerdict, *others: FrameVerdict) -> WhatIf:
    """What would keep a frame of a shot with others."""
    answer = what_if(verdict, [verdict, *others], SETTINGS)

    assert answer is not None
    return answer


@pytest.mark.parametrize(
    ("reason", "facts", "settings"),
    [
        ("low-confidence", {"confidence": 0.6149}, {"extract.min_confidence": 0.61}),
        ("too-small", {"area_fraction": 0.00437}, {"extract.min_area_fraction": 0.0043}),
        ("too-large", {"area_fraction": 0.5201}, {"extract.max_area_fraction": 0.53}),
        ("touches-border", {"border_fraction": 0.3}, {"extract.max_border_fraction": 0.3}),
        (
            "unreliable-flow",
            {"flow_consistency": 0.5, "confidence": 0.1},
            {"extract.min_flow_trust": 0.5, "extract.min_confidence": 0.1},
        ),
    ],
)
def test_limits_that_it_fails_are_moved_to_what_was_measured(
    reason: str, facts: dict[str, float], settings: dict[str, float]
) -> None:
    """A frame alone in its shot is kept once all rules that it fails have another limit."""
    assert asked(frame(0, reason, **facts)) == WhatIf(settings=settings, keeps=True)


def test_what_no_setting_can_change() -> None:
    """Damage, an empty mask, also in a fade, and motion that is slower inside than outside stay rejected."""
    empty, slow = frame(0, "no-motion", area_fraction=0.0), frame(0, "no-motion", motion_pixels=-0.5)
    short = FrameVerdict(frame=0, time_seconds=0.0, shot=0, confidence=0.0, reject_reason="short-shot", window_frames=2)
    for verdict in (frame(0, "fade", confidence=0.0), frame(0, "damaged"), empty, slow, short):
        assert asked(verdict).keeps is False
        assert asked(verdict).because


def test_a_fade_is_kept_where_less_confidence_is_trusted() -> None:
    """Whether other rules reject the frame was not recorded as its reason, and the answer says so."""
    answer = asked(frame(0, "fade", confidence=0.714))

    assert (answer.settings, answer.keeps) == ({"extract.trusted_confidence": 0.71}, None)
    assert "other rules" in answer.because


def test_a_more_confident_frame_leaves_it_unknown() -> None:
    """Whether a frame is a near duplicate of one that is kept before it was never evaluated, and the answer says so."""
    answer = asked(frame(1, "low-confidence", confidence=0.6), frame(0))

    assert answer.settings == {"extract.min_confidence": 0.6}
    assert answer.keeps is None
    assert "extract.min_change" in answer.because


def test_a_frame_that_would_be_good_too_counts_as_more_confident() -> None:
    """One of 0.63 comes before one of 0.6 with the new limit, but one that is also too large does not."""
    verdict = frame(1, "low-confidence", confidence=0.6)

    assert asked(verdict, frame(0, "low-confidence", confidence=0.63)).keeps is None
    assert asked(verdict, frame(0, "too-large", confidence=0.63, area_fraction=0.9)).keeps is True


def test_a_lower_area_may_make_another_frame_less_scattered() -> None:
    """What is scattered is measured in parts of at least the least area, so the recorded value is not the new one."""
    verdict = frame(1, "too-small", area_fraction=0.005)

    assert asked(verdict, frame(0, "scattered", confidence=0.9, object_fraction=0.5)).keeps is None


def test_a_full_shot_is_named() -> None:
    """With a quota of more confident frames, another limit for the mask alone keeps nothing."""
    answer = asked(frame(9, "low-confidence", confidence=0.6), *(frame(n) for n in range(SETTINGS.max_frames_per_shot)))

    assert answer.keeps is None
    assert "fill the quota" in answer.because


def test_near_duplicates() -> None:
    """The least change is moved below the measured one, unless a frame that is chosen before would be kept too."""
    kept = frame(0, confidence=0.9)
    verdict = frame(1, "near-duplicate", change=0.0123, confidence=0.8)

    assert asked(verdict, kept) == WhatIf(settings={"extract.min_change": 0.012}, keeps=True)
    assert asked(verdict, kept, frame(2, "near-duplicate", change=0.011, confidence=0.85)).keeps is True
    assert asked(verdict, kept, frame(2, "near-duplicate", change=0.015, confidence=0.85)).keeps is None
    assert asked(verdict, kept, frame(2, "near-duplicate", change=0.015, confidence=0.7)).keeps is True


def test_over_quota() -> None:
    """The second frame that waits needs a quota of two more, and was not compared with the kept ones."""
    answer = asked(frame(1, "over-quota", confidence=0.7), frame(2, "over-quota", confidence=0.75))

    assert answer.settings == {"extract.max_frames_per_shot": SETTINGS.max_frames_per_shot + 2}
    assert answer.keeps is None


def test_without_the_measured_value_nothing_is_proposed() -> None:
    """A frame of an older record has its confidence alone: what it was rejected for before is not known."""
    old = frame(0, "no-motion", confidence=0.2).model_copy(update={"facts": {"confidence": 0.2}})

    assert asked(old) == WhatIf(because="what was measured for no-motion is not recorded")


def test_a_rounded_confidence_is_not_taken_for_exact() -> None:
    """The confidence of an older record may be larger than the true one by half a unit of its last digit."""
    old = frame(0, "low-confidence").model_copy(update={"facts": {"confidence": 0.61}})

    assert asked(old).settings == {"extract.min_confidence": 0.6}
    assert asked(old).keeps is None


@pytest.mark.parametrize("value", [0.61, 0.6149999, 1e-5, 0.1 + 0.2, 1.0, 123.4])
def test_a_proposed_limit_lets_the_value_pass(value: float) -> None:
    """It is on the right side of the value, and within a tenth of it."""
    assert 0.9 * value <= proposed(value, is_least=True) <= value
    assert value <= proposed(value, is_least=False) <= 1.1 * value
    assert proposed(0.0, is_least=True) == 0.0


def test_thresholds_have_values_and_margins() -> None:
    """A margin is above 0 by as much as the value is within the limit, whichever side of it passes."""
    verdict = frame(0, "too-large", area_fraction=0.6, confidence=0.7)
    met = {rule.setting: rule for rule in met_thresholds(verdict, [verdict], SETTINGS)}

    assert met["extract.max_area_fraction"].margin == pytest.approx(-0.1)
    assert met["extract.max_area_fraction"].passes is False
    assert met["extract.min_confidence"].margin == pytest.approx(0.05)
    assert met["extract.min_confidence"].passes is True
    assert met["extract.min_change"].passes is met["extract.max_frames_per_shot"].passes is None


def test_the_order_of_the_rules_tells_what_is_not_recorded() -> None:
    """Rules before the reason passed, that of the reason failed, and later ones were not asked."""
    old = frame(0, "too-large").model_copy(update={"facts": {}, "window_frames": 0})
    met = [(rule.reason, rule.passes) for rule in met_thresholds(old, [old], SETTINGS)]
    place = met.index(("too-large", False))

    assert {passes for _, passes in met[:place]} == {True}
    assert {passes for _, passes in met[place + 1 :]} == {None}


def test_a_frame_over_the_quota_was_not_compared() -> None:
    """It passed all rules for its mask, failed the quota, and nothing is known of its change."""
    kept = [frame(n, confidence=0.9) for n in range(SETTINGS.max_frames_per_shot)]
    verdict = frame(20, "over-quota")
    met = {rule.reason: rule.passes for rule in met_thresholds(verdict, [verdict, *kept], SETTINGS)}

    assert met["near-duplicate"] is None
    assert met["over-quota"] is False
    assert {met[rule.reason] for rule in THRESHOLDS} == {True}


def test_a_trusted_frame_is_excused() -> None:
    """It passes a rule that its value is beyond, unless the record says that this rule has rejected it."""
    kept, rejected = (frame(0, reason, moving_fraction=0.9, confidence=0.85) for reason in (None, "everything-moves"))

    for verdict, passes in ((kept, True), (rejected, False)):
        met = {rule.reason: rule for rule in met_thresholds(verdict, [verdict], SETTINGS)}["everything-moves"]
        assert (met.passes, met.excused) == (passes, passes)
        assert met.margin == pytest.approx(-0.1)
        assert ("excused because" in _of_threshold(met), "(excused)" in _passed(met)) == (passes, passes)
