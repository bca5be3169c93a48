"""Settings of the detector that evaluates a trunk. The defaults are the published CaffeNet configuration of Fast R-CNN.

The source is Girshick, Fast R-CNN, ICCV 2015, sections 2.3 and 4.1, and the code published with it
(github.com/rbgirshick/fast-rcnn, models/CaffeNet). All known differences from that code, which
`docs/explanation/evaluation.md` repeats:

    the code                               | here
    ---------------------------------------|--------------------------------------------------------------
    conv1 is frozen                        | no layer is frozen, to compare trunks; `freeze_through` 1 freezes it
    response normalisation after pooling   | only in weights of the layout `caffe`; the trunks here have none
    weights are used as they are           | trunks are rescaled; `rescale_trunk` false turns it off
    mean pixel 102.98, 115.95, 122.77 BGR  | ImageNet's mean and standard deviation, as in pretraining
    pooled maps are rounded up in size     | rounded down: a map of even size has one row and column less
    published boxes of selective search    | boxes of the search here; `proposal_files` reads the published ones
    difficult objects are trained on       | regions on difficult objects are ignored in training
    background has an IoU of 0.1 or more   | an image without such regions gives any background
    images and mirror images alternate     | each image is mirrored with a probability of one half
    all detections are kept up to limits   | from a probability of 0.01, at most 100 in an image after
    before suppression: 100 of a class in  |   suppression, over all classes
    an image, 40 of a class on average     |
    an IoU of 0.3 suppresses a detection   | only an IoU above 0.3 does
    regions in one cell share their scores | each region has its own
"""

import math
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from watchmove.pipeline.settings import Section, Seed

_LEAST_ASPECT = 5 / 3
"""Least ratio of the limit of the longer side to the largest scale: that of the published 1000 to 600 and 2000 to 1200.

Images that are longer are shrunk in the published code too; without it, ordinary ones would lose their larger scales.
"""


class ProposalSettings(Section):
    """Selective search, which is computed once for each image."""

    mode: Literal["single", "fast", "quality"] = Field(
        "fast",
        description=(
            "Segmentations that are searched: a single one, or the fast or quality set of Uijlings et al. (IJCV 2013)."
        ),
    )
    longer_side_pixels: int = Field(
        500, ge=64, le=2000, description="Longer side, in pixels, to which larger images are shrunk before the search."
    )
    min_side_pixels: int = Field(8, ge=1, description="Smallest side of a proposal, in pixels of the original image.")
    max_boxes: int = Field(2000, ge=1, description="Largest number of proposals for one image.")
    seed: Seed = Field(0, description="Seed of the random ranking of proposals.")


class EvaluationSettings(Section):
    """Training and testing of a detector."""

    seed: Seed = Field(0, description="Seed of new layers, the order of images, flips, regions and dropout.")
    device: str = Field(
        "cpu", pattern=r"^(cpu|cuda(:[0-9]+)?)$", description="Device of the network: `cpu`, `cuda` or `cuda:N`."
    )
    freeze_through: int = Field(
        0, ge=0, le=5, description="Number of convolutions, from the first, whose weights stay fixed (0 to 5)."
    )
    rescale_trunk: bool = Field(
        True,
        description="Whether the trunk's layers are rescaled on training images before training.",
    )
    rescaling: Literal["unit-variance", "between-layers"] = Field(
        "unit-variance",
        description=(
            "How `rescale_trunk` rescales: every layer to `unit-variance`, or so that all layers change at the same "
            "rate (`between-layers`, Krähenbühl et al., ICLR 2016, section 3.2)."
        ),
    )
    proposals: ProposalSettings = ProposalSettings()

    shorter_side_pixels: int = Field(
        600, ge=64, le=2000, description="Shorter side, in pixels, to which images are scaled."
    )
    longer_side_pixels: int = Field(
        1000,
        ge=64,
        le=4000,
        description="Largest longer side of a scaled image, in pixels; long images are scaled less to stay within it.",
    )
    scales_pixels: tuple[int, ...] = Field(
        (),
        description=(
            "Several shorter sides, in pixels, used instead of `shorter_side_pixels`: a random one in "
            "training, the best one for each region in testing. Empty: one scale. Published: 480, 576, 688, 864, 1200."
        ),
    )
    scales_longer_side_pixels: int = Field(
        2000,
        ge=64,
        le=4000,
        description=(
            "Largest longer side at `scales_pixels`, in pixels, used instead of `longer_side_pixels`; at least 5/3 of "
            "the largest scale."
        ),
    )
    scales_in_testing: bool = Field(
        True,
        description=(
            "Whether `scales_pixels` are used in testing too; false: training uses them, and testing uses "
            "`shorter_side_pixels`."
        ),
    )
    flips: bool = Field(True, description="Whether each training image is mirrored with a probability of one half.")

    iterations: int = Field(40_000, ge=1, description="Number of steps of stochastic gradient descent (SGD).")
    images_per_batch: int = Field(2, ge=1, description="Number of images in one step.")
    rois_per_image: int = Field(64, ge=4, description="Number of regions sampled from each image of a step.")
    foreground_fraction: float = Field(
        0.25, gt=0, lt=1, description="Largest fraction of the sampled regions that show objects."
    )
    foreground_iou: float = Field(
        0.5, gt=0, le=1, description="Smallest intersection over union (IoU) of a foreground region with an object."
    )
    background_max_iou: float = Field(
        0.5, gt=0, le=1, description="IoU with every object below which a region is background."
    )
    background_min_iou: float = Field(
        0.1,
        ge=0,
        lt=1,
        description=(
            "Smallest IoU of sampled background with an object; an image without such regions gives any background."
        ),
    )

    learning_rate: float = Field(
        0.001, gt=0, description="Initial learning rate of weights; that of biases is twice as high."
    )
    learning_rate_drop_fraction: float = Field(
        0.75,
        gt=0,
        le=1,
        description="Fraction of the iterations after which the learning rate drops, each time that they pass.",
    )
    learning_rate_drop_factor: float = Field(
        0.1, gt=0, le=1, description="Factor by which the learning rate is multiplied when it drops."
    )
    warmup_iterations: int = Field(
        0, ge=0, description="Number of iterations over which the learning rate first rises to its initial value."
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of SGD.")
    weight_decay: float = Field(5e-4, ge=0, description="Weight decay of weights; biases have none.")
    max_gradient_norm: float = Field(
        0.0, ge=0, description="Norm to which longer gradients are clipped; 0: no clipping."
    )
    dropout: float = Field(0.5, ge=0, lt=1, description="Dropout probability after fc6 and fc7 in training.")
    checkpoint_every_iterations: int = Field(1000, ge=1, description="Number of iterations between two checkpoints.")

    rois_per_forward: int = Field(
        512, ge=1, description="Largest number of regions processed at once in testing; it bounds memory."
    )
    min_score: float = Field(0.01, ge=0, lt=1, description="Smallest probability of a detection.")
    nms_iou: float = Field(
        0.3, gt=0, le=1, description="IoU above which only the more probable of two detections of a class is kept."
    )
    max_detections_per_image: int = Field(
        100, ge=1, description="Largest number of detections in an image, over all classes."
    )

    @field_validator("scales_pixels")
    @classmethod
    def _scales_are_sides(cls, scales: tuple[int, ...]) -> tuple[int, ...]:
        # the bounds of `shorter_side_pixels`: those of a Field do not apply to the members of a tuple
        if not all(64 <= scale <= 2000 for scale in scales):
            raise ValueError("a scale is a shorter side of 64 to 2000 pixels")
        return scales

    @model_validator(mode="after")
    def _scales_are_not_capped(self) -> Self:
        largest, limit = max(self.scales_pixels, default=0), self.scales_longer_side_pixels
        needed = math.ceil(_LEAST_ASPECT * largest)
        if limit < needed:
            raise ValueError(
                f"scales_longer_side_pixels ({limit}) would shrink images at scale {largest}; set it to {needed}"
            )
        return self

    @model_validator(mode="after")
    def _regions_show_objects(self) -> Self:
        if round(self.rois_per_image * self.foreground_fraction) < 1:
            raise ValueError(
                f"foreground_fraction ({self.foreground_fraction}) of rois_per_image ({self.rois_per_image}) is no "
                "region, and no object would be learnt; raise one of them"
            )
        return self

    def at_training_scales(self) -> tuple["EvaluationSettings", ...]:
        """These settings at each of `scales_pixels`, or unchanged if it is empty."""
        limit = {"longer_side_pixels": self.scales_longer_side_pixels}
        scales = (self.model_copy(update={"shorter_side_pixels": side} | limit) for side in self.scales_pixels)
        return tuple(scales) or (self,)

    def at_testing_scales(self) -> tuple["EvaluationSettings", ...]:
        """These settings at each scale of testing: those of training, or one if `scales_in_testing` is false."""
        return self.at_training_scales() if self.scales_in_testing else (self,)


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
"""Training in a few minutes on two cores, for small images; the published settings would take days there.

A step samples few regions from each of many images: regions of one image resemble each other, and most of a step's time
is spent in fc6 and fc7, in proportion to the number of regions. On the 200 training images
of the synthetic world these values gave a mean AP of 0.58 to 0.60 over three seeds when they were chosen.
"""
