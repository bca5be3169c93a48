"""Settings of the evaluate step: the trunks that are compared, the detection set, and the detector's preset."""

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from watchmove.pipeline.settings import Section, Seed
from watchmove.pipeline.settings.evaluation import QUICK, EvaluationSettings

URI_SCHEMES = ("file://", "s3://")
"""The kinds of store that a URI may name."""
LAYOUTS = ("own", "caffe", "caffe-alexnet", "caffe-plain", "torchvision")
"""Layouts of weights files that `networks/weight_mapping.py` knows. Not imported, as that would import torch."""
RUN_PREFIX = "run:"
"""What the initialisation of another run's backbone begins with, followed by the run's name."""


class EvaluateSettings(Section):
    """The detectors that are trained: one for each combination of initialisation, freezing level and seed."""

    preset: Literal["paper", "quick"] = Field(
        "paper",
        description=(
            "Starting point of `evaluate.detector`: the published settings (`paper`), or a few minutes on a "
            "small set (`quick`)."
        ),
    )
    initialisations: tuple[str, ...] = Field(
        ("random", "pretrained"),
        min_length=1,
        description=(
            "Trunks to compare: `random`, `pretrained`, another run's backbones as `run:NAME` (with the seeds of "
            "`pretrain.seeds`), or safetensors files as `URI` or `URI#LAYOUT`; LAYOUT is `own`, `caffe`, "
            "`caffe-alexnet`, `caffe-plain` or `torchvision`."
        ),
    )
    supervised: str = Field(
        "",
        description="Name among `initialisations` that is the baseline of the report's forecast; empty: no forecast.",
    )
    freeze_through: tuple[int, ...] = Field(
        (0,),
        min_length=1,
        description="Numbers of frozen convolutions to compare, each from 0 (all are trained) to 5; published: 1.",
    )
    seeds: tuple[Seed, ...] = Field(
        (0,), min_length=1, description="Seeds of the detector's training; each is a separate evaluation."
    )
    train_split: str = Field("trainval", min_length=1, description="Image set on which the detector is trained.")
    test_split: str = Field("test", min_length=1, description="Image set on which the detector is scored.")
    train_images: int = Field(
        0,
        ge=0,
        description="Number of training images, those with the lowest SHA-256 of their id; 0: the complete image set.",
    )
    proposal_files: tuple[str, ...] = Field(
        (),
        description="URIs of published proposals (`.mat` files with `boxes` and `images`); empty: selective search.",
    )
    classification: bool = Field(
        False,
        description="Whether to also score each trunk's layers, unchanged, by image classification with linear SVMs.",
    )
    detector: EvaluationSettings = EvaluationSettings()

    @model_validator(mode="before")
    @classmethod
    def _starts_from_preset(cls, tree: Any) -> Any:
        # Before validation, while it is known which keys were given; `paper` needs nothing, as it is the defaults.
        if not isinstance(tree, dict) or tree.get("preset") != "quick":
            return tree
        given = tree.get("detector") or {}
        # Validation reports a value that is no section.
        if not isinstance(given, dict):
            return tree
        detector = {**QUICK.model_dump(), **given}
        # One level deeper, because a given section of proposals would replace all of the preset's.
        if isinstance(given.get("proposals"), dict):
            detector["proposals"] = {**QUICK.proposals.model_dump(), **given["proposals"]}
        return {**tree, "detector": detector}

    @field_validator("proposal_files")
    @classmethod
    def _are_files(cls, uris: tuple[str, ...]) -> tuple[str, ...]:
        for uri in uris:
            if not uri.startswith(URI_SCHEMES) or not uri.endswith(".mat"):
                raise ValueError(f"{uri}: a file of proposals is file:///FOLDER/FILE.mat or s3://BUCKET/KEY.mat")
        return uris

    @field_validator("train_split", "test_split")
    @classmethod
    def _is_a_name(cls, split: str) -> str:
        # files of detections are named by it, which would be refused only after the training
        if "/" in split:
            raise ValueError(f"{split}: an image set is the file ImageSets/Main/NAME.txt; give NAME without a '/'")
        return split

    @field_validator("initialisations")
    @classmethod
    def _are_trunks(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if len(name) > len(RUN_PREFIX) and name.startswith(RUN_PREFIX):
                continue  # the run's name is checked where it becomes a key
            uri, _, layout = name.partition("#")
            known = name in ("random", "pretrained") or (uri.startswith(URI_SCHEMES) and not uri.endswith("/"))
            if not known or layout not in ("", *LAYOUTS):
                raise ValueError(
                    f"{name} is no trunk: give random, pretrained, run:NAME, URI or URI#LAYOUT, "
                    f"one of {', '.join(LAYOUTS)}"
                )
        return names

    @field_validator("detector")
    @classmethod
    def _leaves_the_fan_out_its_own(cls, detector: EvaluationSettings) -> EvaluationSettings:
        for name, instead in (("freeze_through", "freeze_through"), ("seed", "seeds")):
            if getattr(detector, name):
                raise ValueError(f"{name} differs between evaluations and has no effect here; set evaluate.{instead}")
        return detector

    @field_validator("initialisations", "freeze_through", "seeds")
    @classmethod
    def _each_once(cls, values: tuple[str | int, ...]) -> tuple[str | int, ...]:
        # A training counted twice would look like two that agree, and give a confidence interval that is too narrow.
        twice = next((value for value in values if values.count(value) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice} appears more than once; name each value once")
        return values

    @model_validator(mode="after")
    def _baseline_is_evaluated(self) -> Self:
        if self.supervised and self.supervised not in self.initialisations:
            raise ValueError(f"supervised ({self.supervised}) is not among initialisations; add it there")
        return self

    @field_validator("freeze_through")
    @classmethod
    def _levels_exist(cls, levels: tuple[int, ...]) -> tuple[int, ...]:
        if not all(0 <= level <= 5 for level in levels):
            raise ValueError("an AlexNet has five convolutions: levels go from 0 to 5")
        return levels


def preset_in_words(settings: EvaluateSettings) -> str:
    """The preset's name, followed by the detector's settings that differ from it."""
    start = _flat(QUICK if settings.preset == "quick" else EvaluationSettings())
    now = _flat(settings.detector)
    # Not the device: it is where a detector was trained, not how.
    changed = [f"{key} {now[key]}" for key in start if now[key] != start[key] and key != "device"]
    return settings.preset + (f", but {', '.join(changed)}" if changed else "")


def _flat(detector: EvaluationSettings) -> dict[str, object]:
    """All settings of the detector by name; those of proposals have the prefix `proposals.`."""
    own = detector.model_dump(exclude={"proposals"})
    return own | {f"proposals.{key}": value for key, value in detector.proposals.model_dump().items()}
