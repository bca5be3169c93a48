"""Settings of evaluation: Fast R-CNN on a trunk. The defaults are its published CaffeNet configuration.

Girshick, Fast R-CNN, ICCV 2015, sections 2.3 and 4.1, and the configuration published with it. What differs, and why:

    published                              | here
    ---------------------------------------|--------------------------------------------------------------
    conv1 keeps its weights (section 4.5)  | none does, as trunks are compared; `freeze_through` 1 is that
    response normalisation after pooling   | none: trunks here have none
    difficult objects are learnt as others | regions on them are neither object nor background
    detections from a probability of 0.05  | from 0.01: an AP that ends later
    images and their mirror images by turns | each image mirrored half of the times
"""

from typing import Literal

from pydantic import Field, field_validator

from watchmove.pipeline.settings import Section


class ProposalSettings(Section):
    """Selective search: what is computed once for each image."""

    mode: Literal["single", "fast", "quality"] = Field(
        "fast", description="One segmentation, or the fast or the quality set of Uijlings et al. (IJCV 2013)."
    )
    longer_side_pixels: int = Field(
        500, ge=64, le=2000, description="Images are shrunk to at most this before the search, which bounds its time."
    )
    min_side_pixels: int = Field(8, ge=1, description="Boxes with a shorter side than this, in the image, are dropped.")
    max_boxes: int = Field(2000, ge=1, description="Most boxes kept of one image; which ones, the seed decides.")
    seed: int = Field(0, ge=0, description="Seed of the order of the boxes.")


class EvaluationSettings(Section):
    """How a detector is trained and tested."""

    seed: int = Field(0, ge=0, description="Seed of new layers, order of images, flips, regions and dropout.")
    device: str = Field("cpu", pattern=r"^(cpu|cuda(:\d+)?)$", description="Where the network runs: cpu, cuda, cuda:N.")
    freeze_through: int = Field(0, ge=0, le=5, description="Convolutions 1 to this one keep their weights; 0: none.")
    rescale_trunk: bool = Field(
        True,
        description="Learnt layers of the trunk, and each unit of random ones, are first rescaled on training images.",
    )
    proposals: ProposalSettings = ProposalSettings()

    shorter_side_pixels: int = Field(600, ge=64, le=2000, description="Images are scaled to this shorter side.")
    longer_side_pixels: int = Field(1000, ge=64, le=4000, description="But their longer side stays at most this.")
    scales_pixels: tuple[int, ...] = Field(
        (), description="Several shorter sides in its place: one at random in training; in testing, each region's best."
    )
    flips: bool = Field(True, description="Half of the images are mirrored while training.")

    iterations: int = Field(40_000, ge=1, description="Steps of SGD.")
    images_per_batch: int = Field(2, ge=1, description="Images in one step.")
    rois_per_image: int = Field(
        64, ge=4, description="Regions sampled of each of them; of two images 128, as published."
    )
    foreground_fraction: float = Field(0.25, gt=0, lt=1, description="Fraction of the regions that show objects.")
    foreground_iou: float = Field(0.5, gt=0, le=1, description="Regions that overlap an object so much show it.")
    background_max_iou: float = Field(0.5, gt=0, le=1, description="Background overlaps objects less than this.")
    background_min_iou: float = Field(
        0.1, ge=0, lt=1, description="And at least this, where there are such regions: they are the hard ones."
    )

    learning_rate: float = Field(
        0.001, gt=0, description="Learning rate of weights at first; biases learn twice as fast."
    )
    learning_rate_drop_fraction: float = Field(
        0.75, gt=0, le=1, description="After this fraction of the iterations the learning rate drops."
    )
    learning_rate_drop_factor: float = Field(0.1, gt=0, le=1, description="What it is multiplied with then.")
    warmup_iterations: int = Field(0, ge=0, description="Steps over which the learning rate grows to its value.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of SGD.")
    weight_decay: float = Field(5e-4, ge=0, description="Weight decay of weights; biases have none.")
    max_gradient_norm: float = Field(0.0, ge=0, description="Longer gradients are shortened to this; 0: never.")
    dropout: float = Field(0.5, ge=0, lt=1, description="Dropout after fc6 and fc7 while training.")
    checkpoint_every_iterations: int = Field(1000, ge=1, description="A checkpoint is written so often.")

    rois_per_forward: int = Field(512, ge=1, description="Most regions of an image at once in testing; bounds memory.")
    min_score: float = Field(0.01, ge=0, lt=1, description="Detections less probable than this are dropped.")
    nms_iou: float = Field(0.3, gt=0, le=1, description="Of two detections that overlap more, the likelier stays.")
    max_detections_per_image: int = Field(100, ge=1, description="Most detections of an image, all classes together.")

    @field_validator("scales_pixels")
    @classmethod
    def _scales_are_sides(cls, scales: tuple[int, ...]) -> tuple[int, ...]:
        if not all(64 <= scale <= 2000 for scale in scales):
            raise ValueError("a scale is a shorter side of 64 to 2000 pixels")
        return scales

    def at_scales(self) -> tuple["EvaluationSettings", ...]:
        """These settings at each scale; themselves where there is one scale alone."""
        return tuple(self.model_copy(update={"shorter_side_pixels": side}) for side in self.scales_pixels) or (self,)


QUICK = EvaluationSettings(
    iterations=200,
    images_per_batch=8,
    rois_per_image=8,
    foreground_fraction=0.5,
    learning_rate_drop_fraction=0.65,
    warmup_iterations=40,
    dropout=0.1,
    shorter_side_pixels=240,
    longer_side_pixels=480,
    checkpoint_every_iterations=100,
    proposals=ProposalSettings(longer_side_pixels=160, min_side_pixels=16),
)
"""A few minutes on two cores, for small pictures; the published settings would take days there.

Few regions of many images: those of one image are alike, and a step's time goes into fc6 and fc7, that is, by regions.
"""
