"""The motion network: a small network that sees motion and picture, asked where the masks of a shot are doubtful.

Off unless the settings name its weights. Torch is loaded only where they do.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import FloatArray
from watchmove.pipeline.files.digest import file_sha256
from watchmove.pipeline.flow.choice import flow_provenance
from watchmove.pipeline.masks.motion_network_file import header_of
from watchmove.pipeline.settings.extraction import ExtractionSettings

_MOST_CHARACTERS = 64
"""Of what the header names as its snapshot: the file may come from anywhere. Names of snapshots are shorter."""


class MotionNetwork(Protocol):
    """A model that says from a frame and its motion which pixels belong to moving objects."""

    def predict(self, labs: Sequence[NDArray[np.uint8]], cues: Sequence[FloatArray]) -> list[FloatArray]:
        """For each frame, the probability that a pixel belongs to a moving object: float32 (h, w) in [0, 1].

        labs: (h, w, 3), frames in OpenCV's 8-bit CIE L*a*b*; cues: (h, w, 4) in [0, 1], the maps of `motion_cues.CUES`.
        """


@lru_cache(maxsize=1)
def load_motion_network(settings: ExtractionSettings) -> MotionNetwork | None:
    """Load the network that the settings name, once in a process; None where they name none.

    Raises InvalidInput where its weights are missing or do not fit.
    """
    if not settings.motion_network:
        return None
    from watchmove.pipeline.masks.motion_network_layers import load_network

    return load_network(Path(settings.motion_network))


def mixed_evidence(
    motion_evidence: Sequence[FloatArray],
    labs: Sequence[NDArray[np.uint8]],
    cues: Sequence[FloatArray],
    settings: ExtractionSettings,
) -> list[FloatArray]:
    """The mean of the motion evidence (h, w) in [0, 1] and of what the network says, weighted by the network's share.

    The settings name a network; `labs` and `cues` are those of `MotionNetwork.predict`. Raises InvalidInput where its
    weights are missing or do not fit.
    """
    network = load_motion_network(settings)
    assert network is not None  # named by the settings
    share = np.float32(settings.motion_network_share)
    return [
        (1 - share) * evidence + share * prediction
        for evidence, prediction in zip(motion_evidence, network.predict(labs, cues), strict=True)
    ]


def masks_provenance(settings: ExtractionSettings) -> dict[str, str]:
    """What determines masks in addition to the settings, for the record.

    The flow method and the SHA-256s of all weights; of a motion network also the snapshot that it has learnt from.
    Raises InvalidInput where weights cannot be read.
    """
    provenance = flow_provenance(settings)
    if settings.motion_network:
        path = Path(settings.motion_network)
        provenance["motion_network_dataset"] = str(header_of(path).get("dataset", ""))[:_MOST_CHARACTERS]
        provenance["motion_network_sha256"] = file_sha256(path)
    return provenance
