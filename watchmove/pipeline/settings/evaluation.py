"""Settings of the detector that evaluates a trunk. The defaults are the published CaffeNet configuration of Fast R-CNN.

The source is Girshick, Fast R-CNN, ICCV 2015, sections 2.3 and 4.1, and the code published with it. The differences:

    published                              | here
    ---------------------------------------|--------------------------------------------------------------
    conv1 is frozen (section 4.5)          | no layer is frozen, to compare trunks; `freeze_through` 1 freezes it
    response normalisation after pooling   | none, because the trunks here have none
    difficult objects are trained on       | regions on difficult objects are ignored in training
    detections from a probability of 0.05  | from 0.01, which extends the precision-recall curve
    images and mirror images alternate     | each image is mirrored with a probability of one half
"""

from typing import Literal

from pydantic import Field, field_validator

from watchmove.pipeline.settings import Section


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
    seed: int = Field(0, ge=0, description="Seed of the random ranking of proposals.")


class EvaluationSettings(Section):
    """Training and testing of a detector."""

    seed: int = Field(0, ge=0, description="Seed of new layers, the order of images, flips, regions and dropout.")
    device: str = Field(
        "cpu", pattern=r"^(cpu|cuda(:[0-9]+)?)$", description="Device of the network: `cpu`, `cuda` or `cuda:N`."
    )
    freeze_through: int = Field(
        0, ge=0, le=5, description="Number of convolutions, from the first, whose weights stay fixed (0 to 5)."
    )
    rescale_trunk: bool = Field(
        True,
        description="Whether the trunk is rescaled to unit variance on training images before training.",
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
            "training, the best one for each region in testing. Empty: one scale."
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
        0.75, gt=0, le=1, description="Fraction of the iterations after which the learning rate drops."
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

    def at_scales(self) -> tuple["EvaluationSettings", ...]:
        """These settings at each of `scales_pixels`, or unchanged if it is empty."""
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
"""Training in a few minutes on two cores, for small images; the published settings would take days there.

A step samples few regions from each of many images: regions of one image resemble each other, and most of a step's time
is spent in fc6 and fc7, in proportion to the number of regions. On the 200 training images
of the synthetic world these values gave a mean AP of 0.58 to 0.60 over three seeds when they were chosen.
"""
