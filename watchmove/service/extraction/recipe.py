"""The recipe: a hash of all that decides a video's masks (settings, weights, version of the code)."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.masks.teacher import masks_provenance
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.service.runner.scratch_folder import scratch_folder
from watchmove.service.settings.settings import Settings, settings_hash
from watchmove.service.store.opening import open_store

_INSTEAD = "name the mask_network.safetensors that pretraining wrote"


EXTRACTION_VERSION = 10
"""Version of the code; it is increased when the same settings would give other masks or fingerprints."""


def recipe_of(settings: Settings) -> str:
    """Hash of all that decides a video's masks except the video: settings, weights, and version of the code.

    A teacher counts by its bytes, wherever it is stored; it must be a local file, as `with_local_teacher` makes it.
    Raises InvalidInput where weights cannot be read.
    """
    # the share of no teacher decides nothing, so it is left out: such a recipe is as it was before there were teachers
    without = {"teacher"} if settings.extract.teacher else {"teacher", "teacher_share"}
    decides = settings.extract.model_dump(mode="json", exclude=without)
    return settings_hash(decides, masks_provenance(settings.extract), EXTRACTION_VERSION)


def with_local_teacher(settings: Settings, scratch: Path) -> Settings:
    """The same settings, with the teacher as a local file: fetched to `scratch` at the first call only.

    Raises:
        InvalidInput: there is no such file, or its name says that it holds no safetensors.
        Unavailable: the store cannot be reached.
    """
    if not settings.extract.teacher:
        return settings
    path = _local(settings.extract.teacher, scratch)
    return settings.model_copy(update={"extract": settings.extract.model_copy(update={"teacher": str(path)})})


@contextmanager
def local_extraction(settings: Settings) -> Iterator[ExtractionSettings]:
    """Extraction's settings alone, with a fetched teacher kept for the length of the block; raises the same."""
    with scratch_folder(settings.work.scratch) as scratch:
        yield with_local_teacher(settings, scratch).extract


def _local(teacher: str, scratch: Path) -> Path:
    if not teacher.endswith(".safetensors"):  # by name: `plan` need not load torch
        raise InvalidInput(f"extract.teacher ({teacher}): no safetensors file, and others are not read; {_INSTEAD}")
    if "://" not in teacher:
        path = Path(teacher).absolute()
        if not path.is_file():
            raise InvalidInput(f"extract.teacher ({teacher}): no such file; {_INSTEAD}")
        return path
    kept = scratch / f"teacher-{settings_hash(teacher)}.safetensors"
    folder, _, name = teacher.rpartition("/")
    found = kept if kept.is_file() else open_store(folder).local(name, kept)
    if found is None:
        raise InvalidInput(f"extract.teacher ({teacher}): no such file; {_INSTEAD}")
    return found
