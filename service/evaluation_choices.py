"""Which images an evaluation learns from, and which settings it is said to have."""

import hashlib
from collections.abc import Sequence

from pipeline.settings.evaluation import QUICK, EvaluationSettings
from pipeline.voc import VocImage
from service.evaluate_settings import EvaluateSettings


def first_by_hash(images: Sequence[VocImage], count: int) -> tuple[VocImage, ...]:
    """The `count` images whose id's SHA-256, in hex, is lowest, in that order; all of them, as given, where it is 0.

    Anyone can make the list again from the split's ids alone; a shorter list is the beginning of a longer one.
    """
    if count == 0:
        return tuple(images)
    return tuple(sorted(images, key=lambda one: hashlib.sha256(one.image_id.encode()).hexdigest())[:count])


def preset_in_words(settings: EvaluateSettings) -> str:
    """The preset's name, and the detector's settings that differ from it."""
    start = _flat(QUICK if settings.preset == "quick" else EvaluationSettings())
    now = _flat(settings.detector)
    changed = [f"{key} {now[key]}" for key in start if now[key] != start[key] and key != "device"]
    return settings.preset + (f", but {', '.join(changed)}" if changed else "")


def _flat(detector: EvaluationSettings) -> dict[str, object]:
    """Every setting by its own name, those of proposals with theirs before it."""
    own = detector.model_dump(exclude={"proposals"})
    return own | {f"proposals.{key}": value for key, value in detector.proposals.model_dump().items()}
