"""The series of runs that the claims compare: which frames, masks and objective each has, and its settings.

All runs share one store, one trunk, one number of steps and one detection set. They differ in one thing at a time: in
the masks of the same frames, in the objective on the same frames, or in the number of frames.
"""

from dataclasses import dataclass
from typing import Literal

from watchmove.service.settings.settings import Settings
from watchmove.service.steps.control import Kind

MASKS = "masks"
"""Name of the run that pretrains on masks from motion, which all others are compared with."""

FEW = 4
"""Part of the drawn training images that is few. Set by hand: it leaves 150 of 600."""

REAL_FEW_IMAGES = 150
"""Few training images of the real world, as the drawn world has them."""

FROZEN_LEVELS = (1, 2, 3, 4, 5)
"""Numbers of frozen convolutions that are compared, beside none."""


SEEDS = (0, 1, 2)
"""Seeds of pretraining and of detectors: three are the fewest with an interval that is of use."""

QUICK_SEEDS, QUICK_LEVELS = (0, 1), (1, 5)
"""The fewest seeds with an interval, and the ends of the frozen levels."""

COMPARED_FROZEN = (MASKS, "rotation", "colour")
"""Runs whose features are compared as layers are frozen, beside a random trunk."""


@dataclass(frozen=True)
class SeriesRun:
    """One pretraining of the series: what its frames are and what it learns from them."""

    name: str
    control: Kind
    objective: Literal["masks", "rotation", "colour", "labels"] = "masks"
    fraction: float = 1.0
    """Fraction of the videos whose frames it has; smaller fractions are parts of larger ones."""


RUNS = (
    SeriesRun(MASKS, "masks-with-truth"),
    SeriesRun("rotation", "masks-with-truth", "rotation"),
    SeriesRun("colour", "masks-with-truth", "colour"),
    SeriesRun("shuffled", "shuffled-masks"),
    SeriesRun("true", "true-masks"),
    SeriesRun("labels", "labels", "labels"),
)
"""The runs on all frames. `shuffled` takes those of `masks`, so that the set of masks is the same too."""

KNOWN = "known"
"""Name of the run on the frames whose truth is known, with masks from motion, where it is not the run MASKS."""

SIZES = (
    SeriesRun("frames-1-16", "masks-with-truth", fraction=1 / 16),
    SeriesRun("frames-1-8", "masks-with-truth", fraction=1 / 8),
    SeriesRun("frames-1-4", "masks-with-truth", fraction=1 / 4),
    SeriesRun("frames-1-2", "masks-with-truth", fraction=1 / 2),
)
"""The runs on fewer frames; the fifth size is that of `masks`."""

REAL_RUNS = (
    SeriesRun(MASKS, "same"),
    SeriesRun("rotation", "same", "rotation"),
    SeriesRun("colour", "same", "colour"),
    SeriesRun("shuffled", "shuffled-masks"),
    SeriesRun("labels", "labelled-boxes", "labels"),
    SeriesRun(KNOWN, "masks-with-truth"),
    SeriesRun("true", "true-masks"),
    *(SeriesRun(run.name, "same", fraction=run.fraction) for run in SIZES),
)
"""The runs on the real world, where the truth is known of some frames only, and classes of no frame: they are those of
images of the detection set that no detector sees."""


@dataclass(frozen=True)
class GivenWorld:
    """What the real world is put together from: the URIs of videos, and of a folder in the layout of DAVIS."""

    videos: str
    frames: str


@dataclass(frozen=True)
class Series:
    """The series on one world.

    settings: those of the base run, whose `pretrain` and `evaluate` sections hold what all runs share; truth: URI of
    the folder of true masks; seeds: those of pretraining, each with one detector of the same seed; few_images: number
    of training images of the detectors on few, 0 for no such detectors; levels: numbers of frozen convolutions; given:
    what the real world is made of, None for the drawn one.
    """

    world: str
    settings: Settings
    truth: str
    seeds: tuple[int, ...]
    few_images: int
    runs: tuple[SeriesRun, ...]
    levels: tuple[int, ...]
    given: GivenWorld | None = None

    @property
    def base(self) -> str:
        """Name of the run that extracts the videos."""
        return f"claims-{self.world}"

    def name_of(self, run: SeriesRun) -> str:
        """Name of a pretraining run in the store."""
        return f"{self.base}-{run.name}"

    def pretraining(self, run: SeriesRun, seeds: tuple[int, ...]) -> Settings:
        """The settings of a run's pretraining with some of the seeds."""
        update = {"objective": run.objective, "seeds": seeds}
        return self.settings.model_copy(update={"pretrain": self.settings.pretrain.model_copy(update=update)})

    def evaluation(self, run: SeriesRun | None, seed: int, *, level: int = 0, images: int = 0) -> Settings:
        """The settings of one detector: on a run's backbone of a seed, or on a random trunk of that seed if None.

        `level` convolutions are frozen; `images` training images are used, 0: all.
        """
        update = {
            "initialisations": ("random",) if run is None else (f"run:{self.name_of(run)}",),
            "freeze_through": (level,),
            "seeds": (seed,),
            "train_images": images,
        }
        evaluate = self.settings.evaluate.model_copy(update=update)
        pretrain = self.settings.pretrain.model_copy(update={"seeds": (seed,)})
        return self.settings.model_copy(update={"evaluate": evaluate, "pretrain": pretrain})


def series_of(settings: Settings, given: tuple[str, str] | None, *, quick: bool, seeds: int = 0) -> Series:
    """The series on the drawn world, or on what is `given`: the URIs of videos and of annotated frames.

    `settings.truth` names the folder of true masks, and `settings.voc` the detection set. `seeds` is the number of
    seeds; 0: three, or two of the quick series.
    """
    default, levels = (QUICK_SEEDS, QUICK_LEVELS) if quick else (SEEDS, FROZEN_LEVELS)
    chosen = tuple(range(seeds)) if seeds else default
    if given is not None:
        world = GivenWorld(*given)
        return Series("real", settings, settings.truth, chosen, REAL_FEW_IMAGES, REAL_RUNS, levels, world)
    few_images = settings.world.train_images // FEW
    return Series("drawn", settings, settings.truth, chosen, few_images, RUNS + SIZES, levels)
