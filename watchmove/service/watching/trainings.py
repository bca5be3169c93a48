"""How far the pretrainings of a run are, read from the checkpoints that the store has of them."""

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from watchmove.service.records import layout
from watchmove.service.records.datasets import GatherRecord
from watchmove.service.records.training import backbone_id_of
from watchmove.service.settings.settings import Settings
from watchmove.service.store.store import Store


class TrainingProgress(BaseModel):
    """The number of steps of a pretraining that the store has, of how many; `seed` is that of its settings.

    A killed training continues from there. The training itself is further on.
    """

    model_config = ConfigDict(frozen=True)

    seed: int
    steps_stored: int
    steps: int


class _Checkpoint(BaseModel):
    iteration: NonNegativeInt


def trainings_of(store: Store, gathered: GatherRecord, settings: Settings) -> tuple[TrainingProgress, ...]:
    """The pretrainings of a run, with the settings of its plan, of which the store has a checkpoint or the backbone.

    A damaged checkpoint is passed over, as training does. Raises Unavailable if the store cannot be reached.
    """
    steps = settings.pretrain.iterations
    found = []
    for seed in settings.pretrain.all_seeds():
        identity = backbone_id_of(settings, gathered.dataset, seed)
        is_done = store.head(layout.backbone(identity, "record.json")) is not None
        stored = steps if is_done else _newest(store, layout.backbone(identity, "checkpoints"))
        if stored is not None:
            found.append(TrainingProgress(seed=seed, steps_stored=min(stored, steps), steps=steps))
    return tuple(found)


def _newest(store: Store, folder: str) -> int | None:
    """The number of steps done in the newest checkpoint in a folder; None if there is none."""
    known = []
    for item in store.list(f"{folder}/"):
        if item.key.endswith(".json"):
            try:
                known.append(_Checkpoint.model_validate_json(store.read(item.key) or b"").iteration)
            except ValidationError:
                continue
    return max(known, default=None)
