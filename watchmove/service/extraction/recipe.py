"""The recipe: a hash of all that decides a video's masks (settings, weights, version of the code)."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.masks.motion_network import masks_provenance
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.service.runner.scratch_folder import scratch_folder
from watchmove.service.settings.settings import Settings, settings_hash
from watchmove.service.store.opening import open_store

_INSTEAD = "name the file that `watchmove teach` wrote"


EXTRACTION_VERSION = 13
"""Version of the code; it is increased when the same settings would give other masks, samples or fingerprints."""


def recipe_of(settings: Settings) -> str:
    """Hash of all that decides a video's masks except the video: settings, weights, and version of the code.

    A motion network counts by its bytes, wherever it is stored; it must be a local file, as `with_local_weights` makes
    it.
    Raises InvalidInput where weights cannot be read.
    """
    # the share of no network decides nothing
    without = {"motion_network"} if settings.extract.motion_network else {"motion_network", "motion_network_share"}
    if not settings.extract.hardware_decoding:
        without.add("hardware_decoding")  # videos are decoded as without the setting
    decides = settings.extract.model_dump(mode="json", exclude=without)
    return settings_hash(decides, masks_provenance(settings.extract), EXTRACTION_VERSION)


def with_local_weights(settings: Settings, scratch: Path) -> Settings:
    """The same settings, with the motion network as a local file: fetched to `scratch` at the first call only.

    Raises:
        InvalidInput: there is no such file, or its name says that it holds no safetensors.
        Unavailable: the store cannot be reached.
    """
    if not settings.extract.motion_network:
        return settings
    path = _local(settings.extract.motion_network, scratch)
    return settings.model_copy(update={"extract": settings.extract.model_copy(update={"motion_network": str(path)})})


@contextmanager
def local_extraction(settings: Settings) -> Iterator[ExtractionSettings]:
    """Extraction's settings alone, with a fetched motion network kept for the length of the block; raises the same."""
    with scratch_folder(settings.work.scratch) as scratch:
        yield with_local_weights(settings, scratch).extract


def _local(weights: str, scratch: Path) -> Path:
    if not weights.endswith(".safetensors"):  # by name: `plan` need not load torch
        raise InvalidInput(
            f"extract.motion_network ({weights}): no safetensors file, and others are not read; {_INSTEAD}"
        )
    if "://" not in weights:
        path = Path(weights).absolute()
        if not path.is_file():
            raise InvalidInput(f"extract.motion_network ({weights}): no such file; {_INSTEAD}")
        return path
    kept = scratch / f"motion-network-{settings_hash(weights)}.safetensors"
    folder, _, name = weights.rpartition("/")
    found = kept if kept.is_file() else open_store(folder).local(name, kept)
    if found is None:
        raise InvalidInput(f"extract.motion_network ({weights}): no such file; {_INSTEAD}")
    return found
