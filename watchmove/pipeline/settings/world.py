"""Settings of the synthetic world, the built-in input in which the correct mask of every frame is known."""

from typing import Literal

from pydantic import Field

from watchmove.pipeline.settings import Section, Seed


class WorldSettings(Section):
    """Number and size of the videos and images that are drawn. The same settings always give the same arrays."""

    seed: Seed = Field(0, description="Seed of everything drawn.")
    videos: int = Field(
        24,
        ge=0,
        description=(
            "Number of videos; of every 12, 7 show moving objects, 2 contain cuts and 3 show nothing to segment."
        ),
    )
    frames_per_video: int = Field(48, ge=4, le=2000, description="Number of frames in each video.")
    frames_per_second: float = Field(24.0, gt=0, le=240, description="Frame rate of the videos.")
    # both sides are even, because yuv420p stores colour at half of the resolution
    width_pixels: int = Field(320, ge=96, le=1920, multiple_of=2, description="Width of a video, in pixels.")
    height_pixels: int = Field(240, ge=96, le=1080, multiple_of=2, description="Height of a video, in pixels.")
    detection_motifs: Literal["same", "unseen"] = Field(
        "same",
        description=(
            "Shapes, textures and backgrounds of the detection set: the `same` as in the videos, or `unseen` there."
        ),
    )
    train_images: int = Field(200, ge=0, description="Number of images in the training split of the detection set.")
    test_images: int = Field(100, ge=0, description="Number of images in the test split of the detection set.")
