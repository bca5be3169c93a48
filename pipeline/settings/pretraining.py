"""Settings of pretraining: an AlexNet that segments single frames as motion segmented them."""

from typing import Self

from pydantic import Field, model_validator

from pipeline.settings import Section


class PretrainingSettings(Section):
    """How the network learns from soft masks (Pathak et al., CVPR 2017, section 5)."""

    seed: int = Field(0, ge=0, description="Seed of first weights, order of frames, crops and dropout.")
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="Where the network runs; auto: a GPU where there is one.",
    )
    iterations: int = Field(100_000, ge=1, description="Steps of SGD.")
    batch_size: int = Field(64, ge=2, description="Frames in one step.")
    learning_rate: float = Field(0.01, gt=0, description="Highest learning rate; it falls to zero by a cosine.")
    warmup_fraction: float = Field(0.05, ge=0, lt=1, description="Part of the iterations over which it rises first.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of SGD.")
    weight_decay: float = Field(5e-4, ge=0, description="Weight decay of weights; biases and normalisations have none.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout after fc6 and fc7.")
    batch_norm: bool = Field(True, description="Normalise each layer's output; folded away when weights leave.")
    foreground_threshold: float = Field(0.7, gt=0, le=1, description="Soft mask from which a pixel certainly moves.")
    background_threshold: float = Field(0.4, ge=0, lt=1, description="Soft mask up to which it certainly does not.")
    object_fraction: float = Field(
        0.57, gt=0, le=1, description="Longer side of the object's box over the crop's side, before jitter."
    )
    shift_fraction: float = Field(0.12, ge=0, le=0.5, description="Most shift of a crop, over its side, in x and in y.")
    scale_octaves: float = Field(0.5, ge=0, le=2, description="Most change of a crop's side, as a power of two.")
    validation_fraction: float = Field(0.1, ge=0, lt=1, description="Part of the videos held out to measure IoU on.")
    validation_frames: int = Field(128, ge=1, description="Most frames of those that are looked at.")
    validate_every_iterations: int = Field(2000, ge=1, description="The curve gets a point so often.")
    checkpoint_every_iterations: int = Field(2000, ge=1, description="A checkpoint is written so often.")
    max_corrupt_fraction: float = Field(
        0.01, ge=0, le=1, description="Training fails when more of the frames it reads than this cannot be used."
    )

    @model_validator(mode="after")
    def _thresholds_are_in_order(self) -> Self:
        low, high = self.background_threshold, self.foreground_threshold
        if low >= high:
            raise ValueError(f"background_threshold ({low}) is not below foreground_threshold ({high}); lower it")
        return self
