"""Settings of pretraining, which fits a network to predict from a single frame the mask that motion gave."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from watchmove.pipeline.settings import Section, Seed

PRETRAINING_VERSION = 2
"""Version of the training code; it is increased when the same frames and settings would give other weights."""

_DECIDES_NO_WEIGHT = frozenset({"checkpoint_every_iterations", "keep_checkpoints", "max_corrupt_fraction"})
"""Settings that change neither the weights nor the curve, so that a training may be resumed under other values."""


LEARNING_RATES = {
    "masks": "learning_rate",
    "rotation": "rotation_learning_rate",
    "colour": "colour_learning_rate",
    "labels": "labels_learning_rate",
}
"""Name of the setting with the highest learning rate of each objective; those of the others decide nothing."""


FOREGROUND_THRESHOLD = 0.7
"""Default of the soft mask value from which a pixel is foreground (Pathak et al., CVPR 2017, section 5)."""


class PretrainingSettings(Section):
    """Training of a network on soft masks (Pathak et al., CVPR 2017, section 5)."""

    objective: Literal["masks", "rotation", "colour", "labels"] = Field(
        "masks",
        description=(
            "Training target: the mask of a frame (`masks`) or, for comparison on the same frames, the rotation of a "
            "crop, which each step contains in all four rotations (`rotation`), its colours (`colour`), or the class "
            "of its object (`labels`), which is supervised."
        ),
    )
    labels: tuple[str, ...] = Field(
        (), max_length=127, description="Classes of the objective `labels`, as frames' metadata name them in `label`."
    )
    trunk: Literal["alexnet", "alexnet-small", "resnet18", "resnet50"] = Field(
        "alexnet",
        description=(
            "Network that is pretrained: the paper's AlexNet, one of about a quarter of its channels and half its "
            "input for experiments on a few cores (`alexnet-small`), or torchvision's ResNet-18 or ResNet-50."
        ),
    )
    seed: Seed = Field(0, description="Seed of initial weights, the order of frames, crops and dropout.")
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:[0-9]+)?)$",
        description="Device of the network: `cpu`, `cuda`, `cuda:N`, or `auto` for a GPU if there is one.",
    )
    iterations: int = Field(100_000, ge=1, description="Number of steps of stochastic gradient descent (SGD).")
    batch_size: int = Field(64, ge=2, description="Number of frames in one step, over all ranks together.")
    max_device_batch: int = Field(
        0,
        ge=0,
        description=(
            "Largest number of frames processed at once on a device, each in four rotations if the objective is "
            "`rotation`; larger batches are split. 0: no limit."
        ),
    )
    shuffle_window_frames: int = Field(
        65_536,
        ge=1,
        description="Number of frames among which an epoch is shuffled; choose one that fits in the shard cache.",
    )
    learning_rate: float = Field(0.01, gt=0, description="Highest learning rate of the objective `masks`.")
    # Gidaris et al. (ICLR 2018, section 3.2) train AlexNet at 0.01 too, on batches of 192 images.
    rotation_learning_rate: float = Field(0.01, gt=0, description="Highest learning rate of the objective `rotation`.")
    # Set by hand: that of the other objectives.
    colour_learning_rate: float = Field(0.01, gt=0, description="Highest learning rate of the objective `colour`.")
    # Set by hand: that of the other objectives.
    labels_learning_rate: float = Field(0.01, gt=0, description="Highest learning rate of the objective `labels`.")
    schedule: Literal["cosine", "step"] = Field(
        "cosine", description="Decay of the learning rate: along a cosine to zero, or in steps."
    )
    drop_fractions: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(
        (0.6, 0.85),
        description="Fractions of the iterations after which the schedule `step` divides the learning rate by ten.",
    )
    warmup_fraction: float = Field(
        0.05,
        ge=0,
        lt=1,
        description="Fraction of the iterations over which the learning rate first rises to its highest value.",
    )
    # Momentum and weight decay are those of AlexNet (Krizhevsky et al., NIPS 2012, section 5).
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of SGD.")
    weight_decay: float = Field(5e-4, ge=0, description="Weight decay; biases and normalisation layers have none.")
    average_decay: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Decay per step of an exponential moving average of the weights; 0: no average is computed.",
    )
    bfloat16: bool = Field(
        False, description="Whether to multiply in bfloat16 (autocast); weights and sums remain float32."
    )
    compile: bool = Field(
        False, description="Whether to compile the network with torch.compile; on a CPU this needs a C compiler."
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout probability after fc6 and fc7.")
    batch_norm: bool = Field(
        True,
        description=(
            "Whether each layer's output is batch-normalised; exported weights have the normalisation folded in."
        ),
    )
    rescale_trunk: bool = Field(
        False,
        description="Whether an AlexNet without `batch_norm` is rescaled to unit variance before training.",
    )
    foreground_threshold: float = Field(
        FOREGROUND_THRESHOLD, gt=0, le=1, description="Soft mask value from which a pixel is foreground."
    )
    background_threshold: float = Field(
        0.4,
        ge=0,
        lt=1,
        description=(
            "Soft mask value up to which a pixel is background; values between the two thresholds are ignored."
        ),
    )
    # 128 of 224 pixels, as in DeepMask; jitter is stronger than its own (see `pretraining/examples.py`).
    object_fraction: float = Field(
        0.57, gt=0, le=1, description="Longer side of the object's box as a fraction of the crop's side, before jitter."
    )
    shift_fraction: float = Field(
        0.12, ge=0, le=0.5, description="Largest random shift of a crop in x and in y, as a fraction of its side."
    )
    scale_octaves: float = Field(
        0.5, ge=0, le=2, description="Largest random change of a crop's side, in octaves (1 doubles or halves it)."
    )
    colour_jitter: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Largest relative change of brightness, contrast and saturation; that of hue is a quarter of it.",
    )
    crop_on: Literal["auto", "cpu", "device"] = Field(
        "auto",
        description=(
            "Where crops are made: by the reading threads (`cpu`), on the network's `device`, or `auto`: a GPU if any."
        ),
    )
    validation_fraction: float = Field(0.1, ge=0, lt=1, description="Fraction of the videos held out for validation.")
    validation_frames: int = Field(
        128, ge=1, description="Largest number of held-out frames scored in each validation."
    )
    validate_every_iterations: int = Field(2000, ge=1, description="Number of iterations between two validations.")
    checkpoint_every_iterations: int = Field(2000, ge=1, description="Number of iterations between two checkpoints.")
    keep_checkpoints: int = Field(
        2, ge=1, description="Number of newest checkpoints kept, in addition to the one with the best validation score."
    )
    max_corrupt_fraction: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Largest fraction of the frames read that may be unusable; training fails above it.",
    )

    @property
    def learning_rate_name(self) -> str:
        """Name of the setting with the objective's highest learning rate."""
        return LEARNING_RATES[self.objective]

    @property
    def highest_learning_rate(self) -> float:
        """The objective's highest learning rate."""
        rate: float = getattr(self, self.learning_rate_name)
        return rate

    def deciding(self) -> dict[str, Any]:
        """The settings that decide weights and curve, as plain JSON; a training resumes only if all of them agree."""
        other_rates = set(LEARNING_RATES.values()) - {self.learning_rate_name}
        # left out where they decide nothing, so that identities from before there were labels stay
        labels = set() if self.objective == "labels" else {"labels"}
        return self.model_dump(mode="json", exclude=set(_DECIDES_NO_WEIGHT) | other_rates | labels)

    @model_validator(mode="after")
    def _thresholds_are_in_order(self) -> Self:
        low, high = self.background_threshold, self.foreground_threshold
        if low >= high:
            raise ValueError(f"background_threshold ({low}) is not below foreground_threshold ({high}); lower it")
        return self

    @model_validator(mode="after")
    def _options_fit_the_trunk(self) -> Self:
        if self.trunk.startswith("resnet") and (self.dropout or not self.batch_norm):
            raise ValueError(f"{self.trunk} has batch_norm and no dropout; leave batch_norm true and dropout 0")
        if self.rescale_trunk and self.batch_norm:
            raise ValueError("rescale_trunk has no use with batch_norm, which rescales in every step; set one to false")
        if self.objective in ("rotation", "labels") and self.crop_on == "device":
            raise ValueError("crop_on (device) needs objective (masks or colour); set crop_on to auto or cpu")
        return self

    @model_validator(mode="after")
    def _labels_are_named(self) -> Self:
        if self.objective == "labels" and len(set(self.labels)) < max(2, len(self.labels)):
            raise ValueError(f"objective labels needs two or more different labels; {len(self.labels)} are given")
        return self

    @model_validator(mode="after")
    def _colours_are_left_to_predict(self) -> Self:
        if self.objective == "colour" and self.colour_jitter:
            raise ValueError(
                f"colour_jitter ({self.colour_jitter}) changes what objective colour predicts; set it to 0"
            )
        return self
