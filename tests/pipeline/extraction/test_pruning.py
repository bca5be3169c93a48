"""Every reason for rejecting a frame is given to a mask with that fault."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from watchmove.pipeline.extraction.pruning import (
    REJECT_REASONS,
    THRESHOLDS,
    MaskFacts,
    measure_mask,
    object_fraction,
    prune_shot,
    reject_reason,
)
from watchmove.pipeline.masks.chain import SegmentedFrame
from watchmove.pipeline.masks.confidence import border_mean, confidence_of
from watchmove.pipeline.settings.extraction import ExtractionSettings

SETTINGS = ExtractionSettings()
GOOD = MaskFacts(
    area_fraction=0.1,
    border_fraction=0.0,
    object_fraction=1.0,
    moving_fraction=0.1,
    background_motion_pixels=0.0,
    motion_pixels=2.0,
    flow_consistency=0.98,
    confidence=0.7,
)


def block(height: int = 100, width: int = 200) -> NDArray[np.float32]:
    """A mask of ones and zeros, 40 x 50 pixels, a tenth of the frame."""
    mask = np.zeros((height, width), np.float32)
    mask[30:70, 60:110] = 1
    return mask


def test_a_good_mask_is_kept() -> None:
    """A mask without a fault gets no reason."""
    assert reject_reason(GOOD, SETTINGS) is None


FAULTS: list[tuple[dict[str, float], str]] = [
    ({"area_fraction": 0.0}, "no-motion"),
    ({"motion_pixels": 0.1}, "no-motion"),
    ({"flow_consistency": 0.5}, "unreliable-flow"),
    ({"moving_fraction": 0.95}, "everything-moves"),
    ({"area_fraction": 0.005}, "too-small"),
    ({"area_fraction": 0.7}, "too-large"),
    ({"border_fraction": 0.5}, "touches-border"),
    ({"object_fraction": 0.4}, "scattered"),
    ({"confidence": 0.1}, "low-confidence"),
]
OF_WINDOWS_AND_SHOTS = {"damaged", "short-shot", "fade", "near-duplicate", "over-quota"}
"""Reasons that no single mask gives; tests of videos and shots, and those of `prune_shot` below, have them."""


@pytest.mark.parametrize(("change", "reason"), FAULTS)
def test_each_fault_has_its_reason(change: dict[str, float], reason: str) -> None:
    """One fault in an otherwise good mask gives that fault's name."""
    assert reject_reason(replace(GOOD, **change), SETTINGS) == reason


@pytest.mark.parametrize(
    "change", [change for change, reason in FAULTS if reason in ("unreliable-flow", "everything-moves")]
)
def test_a_trusted_mask_is_not_rejected_for_its_motion(change: dict[str, float]) -> None:
    """From the trusted confidence on, neither disagreeing flow nor much motion rejects a frame; other faults do."""
    trusted = replace(GOOD, confidence=SETTINGS.trusted_confidence, **change)
    assert reject_reason(trusted, SETTINGS) is None
    assert reject_reason(trusted, ExtractionSettings(trusted_confidence=0.9)) is not None
    assert reject_reason(replace(trusted, border_fraction=0.5), SETTINGS) == "touches-border"


def test_every_reason_has_a_fault_that_gives_it() -> None:
    """A reason that is added to the closed list needs a row above."""
    assert {reason for _, reason in FAULTS} | OF_WINDOWS_AND_SHOTS == set(REJECT_REASONS)


def test_a_threshold_itself_passes() -> None:
    """Every rule takes the value of its limit and rejects the next number beyond it."""
    for rule in THRESHOLDS:
        limit = rule.limit(SETTINGS)
        beyond = np.nextafter(limit, 0.0 if rule.is_least else 2.0)

        assert not rule.rejects(limit, limit)
        assert rule.rejects(float(beyond), limit)


def test_thresholds_are_in_the_order_of_the_reasons() -> None:
    """The first rule that a mask breaks names its reason, so their order is part of the result."""
    numbers = [REJECT_REASONS.index(rule.reason) for rule in THRESHOLDS]

    assert numbers == sorted(numbers)


def test_border_fraction_counts_the_outermost_pixels() -> None:
    """A mask of the whole left column of a 4 x 6 frame covers 4 of its 16 border pixels."""
    mask = np.zeros((4, 6), bool)
    mask[:, 0] = True

    assert border_mean(mask) == 4 / 16
    assert border_mean(~np.zeros((4, 6), bool)) == 1


def test_object_fraction_excludes_small_parts() -> None:
    """Of 100 mask pixels, 90 are in a part of at least 5 % of the frame."""
    mask = np.zeros((30, 40), bool)
    mask[2:12, 2:11] = True
    mask[20:25, 30:32] = True

    assert object_fraction(mask, 0.05) == pytest.approx(0.9)
    assert object_fraction(mask, 0.0) == 1
    assert object_fraction(np.zeros((30, 40), bool), 0.05) == 0


def test_confidence_is_high_for_sharp_and_low_for_vague_masks() -> None:
    """A mask of ones and zeros has confidence 1, one of values near a half little, and an empty one none."""
    sharp, vague = block(), np.full((100, 200), 0.55, np.float32)

    assert confidence_of(sharp) == 1
    assert confidence_of(vague) < 0.2
    assert confidence_of(np.zeros((100, 200), np.float32)) == 0


def test_confidence_falls_with_uncertain_pixels() -> None:
    """A mask with as many uncertain pixels as mask pixels has confidence exp(-1 / 1.75)."""
    half = block()
    half[30:70, 110:160] = 0.4

    assert confidence_of(half) == pytest.approx(np.exp(-1 / 1.75), abs=1e-6)


def test_facts_of_a_block_that_moves() -> None:
    """A tenth of the frame moves 3 pixels per frame, and the rest moves half a pixel."""
    mask = block()
    motion = np.where(mask[::2, ::2] > 0, 3, 0.5).astype(np.float32)
    facts = measure_mask(SegmentedFrame(mask, motion, 0.9), 0.01)

    assert facts.area_fraction == pytest.approx(0.1)
    assert facts.motion_pixels == pytest.approx(2.5)
    assert facts.moving_fraction == pytest.approx(0.1)
    assert (facts.border_fraction, facts.object_fraction, facts.flow_consistency, facts.confidence) == (0, 1, 0.9, 1)


def blocks_image(seed: int) -> NDArray[np.uint8]:
    """An image of large random blocks."""
    small = np.random.default_rng(seed).integers(0, 255, (10, 20, 3), dtype=np.uint8)
    return small.repeat(10, axis=0).repeat(10, axis=1)


def test_the_more_confident_of_two_equal_frames_is_kept() -> None:
    """Of two equal frames the more confident one is kept, and a different frame is kept too."""
    images = [blocks_image(0), blocks_image(0), blocks_image(1)]

    pruned = prune_shot(images, [block()] * 3, [0.7, 0.9, 0.6], SETTINGS)

    assert [decision.reason for decision in pruned] == ["near-duplicate", None, None]
    assert [pruned[0].change, pruned[1].change] == [0.0, None]
    assert (pruned[2].change or 0.0) > SETTINGS.min_change


def test_a_shot_gives_no_more_than_its_quota() -> None:
    """With a quota of 2, the two most confident of four frames are kept."""
    settings = ExtractionSettings(max_frames_per_shot=2)
    pruned = prune_shot([blocks_image(n) for n in range(4)], [block()] * 4, [0.5, 0.8, 0.9, 0.6], settings)

    assert [decision.reason for decision in pruned] == ["over-quota", None, None, "over-quota"]
    assert [pruned[0].change, pruned[3].change] == [None, None]
