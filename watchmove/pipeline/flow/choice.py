"""The choice of a flow method by the settings; all have one interface, from batches of grey pairs to batches of fields.

`dis` is OpenCV's and runs on the CPU; `variational` needs no weights and runs in torch; `raft` runs in torch with
weights that the user supplies. "auto" takes `dis` on the CPU and `variational` elsewhere. Torch and OpenCV are loaded
only for the methods that need them: a worker without torch starts faster and needs less memory, and the slim image, in
which a recipe's provenance is computed, has neither.
"""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from watchmove.pipeline.settings.extraction import ExtractionSettings

if TYPE_CHECKING:
    from watchmove.pipeline.flow.dis import FlowMethod


def chosen_method(settings: ExtractionSettings) -> str:
    """Return the name of the method that the settings choose: dis, variational or raft."""
    if settings.flow == "auto":
        return "dis" if settings.device == "cpu" else "variational"
    return settings.flow


# one entry: a process works with one group of settings, and other weights need not stay in memory
@lru_cache(maxsize=1)
def flow_method(settings: ExtractionSettings) -> "FlowMethod":
    """Return the method that the settings choose, on the device that they choose; weights are loaded once in a process.

    Raises InvalidInput where the device is missing, or where RAFT's weights are missing or do not fit.
    """
    if chosen_method(settings) == "dis":
        from watchmove.pipeline.flow.dis import dis_flow

        return dis_flow
    from watchmove.pipeline.flow.torch_methods import torch_flow_method

    return torch_flow_method(settings)


def flow_provenance(settings: ExtractionSettings) -> dict[str, str]:
    """The method and the SHA-256 of its weights, where it has any, for the record.

    Raises InvalidInput where RAFT's weights cannot be read.
    """
    method = chosen_method(settings)
    if method != "raft":
        return {"flow": method}
    from watchmove.pipeline.flow.raft import weights_sha256

    return {"flow": method, "raft_weights_sha256": weights_sha256(Path(settings.raft_weights))}
