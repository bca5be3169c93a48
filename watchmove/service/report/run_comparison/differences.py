"""What differs between two runs A and B, as plain values: what a program reads, and what page and terminal show."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, computed_field

from watchmove.service.report.result import SeedSpread


class ComparedRun(BaseModel):
    """One of the two runs: what made it, what it lacks, and what the champions say of its backbones."""

    model_config = ConfigDict(frozen=True)

    run: str
    version: str
    recipe: str
    masks_from: str
    dataset: str
    protocol: str
    missing: tuple[str, ...]
    champion: str


class SettingDifference(BaseModel):
    """A setting by dotted name with its two values; None where a run's version does not have it."""

    model_config = ConfigDict(frozen=True)

    name: str
    a: Any
    b: Any
    of_machine: bool


class CountDifference(BaseModel):
    """A count in both runs; None where a run has not come so far."""

    model_config = ConfigDict(frozen=True)

    name: str
    a: int | None
    b: int | None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def difference(self) -> int | None:
        """That of B less that of A; None where one is unknown."""
        return None if self.a is None or self.b is None else self.b - self.a


class FrameDifference(BaseModel):
    """A frame that both runs have sampled: its video, its time, and why each run rejects it, None if it keeps it.

    `stored_a` and `stored_b` say whether the mask is in the store; `iou` is None without both masks.
    """

    model_config = ConfigDict(frozen=True)

    key: str
    video: str
    time_seconds: float
    reject_reason_a: str | None
    reject_reason_b: str | None
    stored_a: bool
    stored_b: bool
    iou: float | None


class MaskDifference(BaseModel):
    """The common frames of two runs, as `CommonFrames` describes them; `frames_shown` differ most, and come first.

    `masks_compared` pairs of masks of frames that both keep have the mean `mean_iou`; it is None if there are none.
    """

    model_config = ConfigDict(frozen=True)

    videos: int
    videos_compared: int
    frames: int
    kept: int
    kept_in_one: int
    masks_compared: int
    mean_iou: float | None
    frames_shown: tuple[FrameDifference, ...]


class FigureDifference(BaseModel):
    """11-point mAP of an initialisation and a number of frozen convolutions, over the seeds of each run.

    `difference` is that of the means, B less A, with the 95 % interval `low` to `high`; None where a run lacks the
    figure, the protocols differ, or, for the interval, a run has a single seed. `verdict` is empty without a
    difference.
    """

    model_config = ConfigDict(frozen=True)

    initialisation: str
    freeze_through: int
    a: SeedSpread | None
    b: SeedSpread | None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    verdict: Literal["", "higher in B", "higher in A", "not shown", "the same detectors"] = ""


class RunComparison(BaseModel):
    """The facts of a comparison. `masks` is None where the masks are the same by `same_masks`, a reason in words.

    `not_comparable` says why figures are not compared; it is empty if they are, or if a run has none. `sentences` say
    what differs and what came of it.
    """

    model_config = ConfigDict(frozen=True)

    a: ComparedRun
    b: ComparedRun
    settings: tuple[SettingDifference, ...]
    counts: tuple[CountDifference, ...]
    videos: tuple[CountDifference, ...]
    frames: tuple[CountDifference, ...]
    same_masks: str
    masks: MaskDifference | None
    not_comparable: str
    figures: tuple[FigureDifference, ...]
    sentences: tuple[str, str] = ("", "")
