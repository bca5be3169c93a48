"""The second watch: what a network has learnt from masks joins the votes of motion from which masks are made.

Off unless the settings name a teacher. Torch is loaded only where there is one.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np

from watchmove.pipeline.arrays import FloatArray, Image
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.flow.choice import flow_provenance
from watchmove.pipeline.settings.extraction import ExtractionSettings


class Votes(Protocol):
    """A teacher's answer to frames of one window."""

    def votes(self, images: Sequence[Image], moving: Sequence[FloatArray]) -> list[FloatArray]:
        """For each frame, how likely its pixels move: (h, w) in [0, 1], as `moving` has it; NaN where nothing is said.

        Images are (H, W, 3) uint8 RGB; `moving` is evidence of motion (h, w) in [0, 1] at the working size.
        """


@lru_cache(maxsize=1)
def chosen_teacher(settings: ExtractionSettings) -> Votes | None:
    """The teacher that the settings name, None where they name none; loaded once in a process.

    Raises InvalidInput where its weights are missing or do not fit, or there is no device as the settings say.
    """
    if not settings.teacher:
        return None
    from watchmove.pipeline.flow.torch_methods import chosen_device
    from watchmove.pipeline.masks.teacher_network import load_teacher

    return load_teacher(Path(settings.teacher), chosen_device(settings))


def with_teacher(
    images: Sequence[Image], moving: Sequence[FloatArray], settings: ExtractionSettings
) -> list[FloatArray]:
    """Evidence of motion (h, w) in [0, 1] of each frame, mixed with the teacher's; its own where nobody says more.

    Images are (H, W, 3) uint8 RGB. Raises InvalidInput where the teacher's weights are missing or do not fit.
    """
    teacher = chosen_teacher(settings)
    if teacher is None:
        return list(moving)
    share = np.float32(settings.teacher_share)
    return [
        np.where(np.isnan(vote), evidence, (1 - share) * evidence + share * vote).astype(np.float32)
        for vote, evidence in zip(teacher.votes(images, moving), moving, strict=True)
    ]


def masks_provenance(settings: ExtractionSettings) -> dict[str, str]:
    """What made masks beside the settings, for the record: the method of flow, and the SHA-256 of weights in use.

    Raises InvalidInput where weights cannot be read.
    """
    made_by = flow_provenance(settings)
    if settings.teacher:
        made_by["teacher_sha256"] = _sha256(Path(settings.teacher))
    return made_by


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        what = f"extract.teacher ({path}): {error.strerror or 'cannot be read'}"
        raise InvalidInput(f"{what}; give a mask network's safetensors file, as pretraining writes it") from error
