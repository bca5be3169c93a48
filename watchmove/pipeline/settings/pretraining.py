"""Settings of pretraining: a network that segments single frames as motion segmented them."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from watchmove.pipeline.settings import Section

PRETRAINING_VERSION = 2
"""Raised when the same frames and settings would give other weights."""

_DECIDES_NO_WEIGHT = frozenset({"checkpoint_every_iterations", "keep_checkpoints", "max_corrupt_fraction"})


class PretrainingSettings(Section):
    """How the network learns from soft masks (Pathak et al., CVPR 2017, section 5)."""

    objective: Literal["masks", "rotation"] = Field(
        "masks", description="What is learnt from a frame: what moved in it, or, as a control, how its crop is turned."
    )
    trunk: Literal["alexnet", "resnet18", "resnet50"] = Field(
        "alexnet", description="What is pretrained: the AlexNet of the paper, or torchvision's ResNet-18 or ResNet-50."
    )
    seed: int = Field(0, ge=0, description="Seed of first weights, order of frames, crops and dropout.")
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="Where the network runs; auto: a GPU where there is one.",
    )
    iterations: int = Field(100_000, ge=1, description="Steps of SGD.")
    batch_size: int = Field(64, ge=2, description="Frames in one step, of all ranks together.")
    max_device_batch: int = Field(
        0, ge=0, description="Most frames at once on a device: larger shares of a batch are done in parts. 0: no limit."
    )
    shuffle_window_frames: int = Field(
        65_536, ge=1, description="Frames among which an epoch is shuffled; the cache should hold as many."
    )
    learning_rate: float = Field(0.01, gt=0, description="Highest learning rate.")
    schedule: Literal["cosine", "step"] = Field("cosine", description="How it falls: by a cosine to zero, or in drops.")
    drop_fractions: tuple[float, ...] = Field(
        (0.6, 0.85), description="Parts of the iterations after which it drops to a tenth, where it falls in drops."
    )
    warmup_fraction: float = Field(0.05, ge=0, lt=1, description="Part of the iterations over which it rises first.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of SGD.")
    weight_decay: float = Field(5e-4, ge=0, description="Weight decay of weights; biases and normalisations have none.")
    average_decay: float = Field(
        0.0, ge=0, lt=1, description="What a running average of the weights keeps in a step; 0: no average is made."
    )
    bfloat16: bool = Field(False, description="Multiply in bfloat16 (autocast); weights and sums stay float32.")
    compile: bool = Field(False, description="Compile the network (torch.compile); needs a C compiler on a CPU.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout after fc6 and fc7.")
    batch_norm: bool = Field(True, description="Normalise each layer's output; folded away when weights leave.")
    rescale_trunk: bool = Field(
        False,
        description="First weights of an AlexNet without batch_norm are rescaled to unit variance on its first frames.",
    )
    foreground_threshold: float = Field(0.7, gt=0, le=1, description="Soft mask from which a pixel certainly moves.")
    background_threshold: float = Field(0.4, ge=0, lt=1, description="Soft mask up to which it certainly does not.")
    object_fraction: float = Field(
        0.57, gt=0, le=1, description="Longer side of the object's box over the crop's side, before jitter."
    )
    shift_fraction: float = Field(0.12, ge=0, le=0.5, description="Most shift of a crop, over its side, in x and in y.")
    scale_octaves: float = Field(0.5, ge=0, le=2, description="Most change of a crop's side, as a power of two.")
    colour_jitter: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Most change of brightness, contrast and saturation, as a part of them; hue's is a quarter of it.",
    )
    crop_on: Literal["auto", "cpu", "device"] = Field(
        "auto",
        description="Who cuts examples: readers (`cpu`) or the network's device, in batches; auto: a GPU, if any.",
    )
    validation_fraction: float = Field(0.1, ge=0, lt=1, description="Part of the videos held out to measure on.")
    validation_frames: int = Field(128, ge=1, description="Most frames of those that are looked at.")
    validate_every_iterations: int = Field(2000, ge=1, description="The curve gets a point so often.")
    checkpoint_every_iterations: int = Field(2000, ge=1, description="A checkpoint is written so often.")
    keep_checkpoints: int = Field(
        2, ge=1, description="Newest checkpoints that are kept, beside the one that answers held-out videos best."
    )
    max_corrupt_fraction: float = Field(
        0.01, ge=0, le=1, description="Training fails when more of the frames it reads than this cannot be used."
    )

    def deciding(self) -> dict[str, Any]:
        """Those that weights or the curve depend on, plain JSON: with others changed, a training still goes on."""
        return self.model_dump(mode="json", exclude=set(_DECIDES_NO_WEIGHT))

    @model_validator(mode="after")
    def _thresholds_are_in_order(self) -> Self:
        low, high = self.background_threshold, self.foreground_threshold
        if low >= high:
            raise ValueError(f"background_threshold ({low}) is not below foreground_threshold ({high}); lower it")
        return self

    @model_validator(mode="after")
    def _options_fit_the_trunk(self) -> Self:
        if self.trunk != "alexnet" and (self.dropout or not self.batch_norm):
            raise ValueError(f"{self.trunk} has batch_norm and no dropout; leave batch_norm true and dropout 0")
        if self.rescale_trunk and self.batch_norm:
            raise ValueError("rescale_trunk does what batch_norm does in every step; set one of them to false")
        if self.objective == "rotation" and self.crop_on == "device":
            raise ValueError("crop_on device cuts examples of masks; set it to auto or cpu")
        return self
