"""Settings of the drawn world: the embedded default input, of which every pixel's truth is known."""

from pydantic import Field

from watchmove.pipeline.settings import Section


class WorldSettings(Section):
    """How many videos and pictures are drawn, and how large. The same settings give the same arrays, always."""

    seed: int = Field(0, ge=0, description="What the world is drawn from; another number gives another world.")
    videos: int = Field(24, ge=0, description="Videos drawn; of 12, 7 show moving objects, 2 cuts, 3 nothing to find.")
    frames_per_video: int = Field(48, ge=4, le=2000, description="Frames of each video.")
    frames_per_second: float = Field(24.0, gt=0, le=240, description="Rate at which the videos are to be played.")
    width_pixels: int = Field(320, ge=96, le=1920, multiple_of=2, description="Width of a video.")
    height_pixels: int = Field(240, ge=96, le=1080, multiple_of=2, description="Height of a video.")
    train_images: int = Field(200, ge=0, description="Pictures in the detection set's train split.")
    test_images: int = Field(100, ge=0, description="Pictures in the detection set's test split.")
