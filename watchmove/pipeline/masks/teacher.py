"""The teacher: a mask network trained earlier, its prediction averaged with the motion evidence of new videos.

Off unless the settings name its weights. Torch is loaded only where they do.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np

from watchmove.pipeline.arrays import FloatArray, Image
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.digest import file_sha256
from watchmove.pipeline.flow.choice import flow_provenance
from watchmove.pipeline.settings.extraction import ExtractionSettings


class Teacher(Protocol):
    """A model that predicts which pixels of a window's frames belong to moving objects."""

    def predict(self, images: Sequence[Image], motion_evidence: Sequence[FloatArray]) -> list[FloatArray]:
        """For each frame, the probability that a pixel belongs to a moving object: float32 (h, w) in [0, 1], or NaN.

        images: (H, W, 3) uint8 RGB; motion_evidence: for each image, (h, w) float32 in [0, 1] at the working size. The
        prediction is NaN where the model makes none.
        """


@lru_cache(maxsize=1)
def load_teacher(settings: ExtractionSettings) -> Teacher | None:
    """Load the teacher that the settings name, once in a process; None where they name none.

    Raises InvalidInput where its weights are missing or do not fit, or where the device in the settings is missing.
    """
    if not settings.teacher:
        return None
    from watchmove.pipeline.flow.torch_methods import chosen_device
    from watchmove.pipeline.masks.teacher_network import load_teacher_network

    return load_teacher_network(Path(settings.teacher), chosen_device(settings))


def average_with_teacher(
    images: Sequence[Image], motion_evidence: Sequence[FloatArray], settings: ExtractionSettings
) -> list[FloatArray]:
    """Average the motion evidence (h, w) in [0, 1] of each frame with the teacher's prediction, weighted by its share.

    Evidence stays as it is where the teacher predicts nothing, and everywhere if the settings name no teacher. Images
    are (H, W, 3) uint8 RGB. Raises InvalidInput where the teacher's weights are missing or do not fit.
    """
    teacher = load_teacher(settings)
    if teacher is None:
        return list(motion_evidence)
    share = np.float32(settings.teacher_share)
    return [
        np.where(np.isnan(prediction), evidence, (1 - share) * evidence + share * prediction).astype(np.float32)
        for prediction, evidence in zip(teacher.predict(images, motion_evidence), motion_evidence, strict=True)
    ]


def masks_provenance(settings: ExtractionSettings) -> dict[str, str]:
    """What determines masks in addition to the settings, for the record: the flow method and SHA-256s of its weights.

    Raises InvalidInput where weights cannot be read.
    """
    provenance = flow_provenance(settings)
    if settings.teacher:
        provenance["teacher_sha256"] = _teacher_sha256(Path(settings.teacher))
    return provenance


def _teacher_sha256(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        what = f"extract.teacher ({path}): {error.strerror or 'cannot be read'}"
        raise InvalidInput(f"{what}; give a mask network's safetensors file, as pretraining writes it") from error
