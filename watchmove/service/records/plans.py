"""The record of a plan, which every later step reads, and the record of a retry, which is also a plan."""

from typing import Literal

from pydantic import BaseModel, Field

from watchmove.service.records.record import FINITE, Count, Record


class PlanRecord(Record):
    """What a run extracts. `shards` counts the shards of videos that no earlier run has finished.

    Of `videos_new`, `videos_changed` were extracted before in another version. `videos_removed` were extracted and are
    no longer listed; the store has a list of them and of the malformed rows. `filtered` counts listed videos that
    the settings exclude, by reason, and what else of a list was left out. `expected_seconds` is the work of all shards
    for one worker.
    """

    recipe: str
    plan: str
    shards: Count
    videos_listed: Count
    videos_new: Count
    videos_changed: Count = 0
    videos_removed: Count = 0
    files_ignored: Count
    rows_malformed: Count = 0
    filtered: dict[str, Count] = Field(default_factory=dict)
    expected_seconds: float = Field(0.0, ge=0)
    masks_from: Literal["motion", "annotations"] = "motion"


class Retries(BaseModel):
    """Which videos of `plan` a retry plans again: those whose counting attempt has such an outcome and reason."""

    model_config = FINITE

    plan: str
    outcomes: tuple[str, ...]
    reasons: tuple[str, ...]


class RetryRecord(PlanRecord):
    """The plan of a run or of a retry; `retries` is None for a plan of new videos."""

    retries: Retries | None = None
