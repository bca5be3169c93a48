"""Settings of extraction: from one video file to soft masks of what moved in it."""

from pydantic import Field

from pipeline.settings import Section


class ExtractionSettings(Section):
    """How a video is decoded, which frames are looked at, how they are segmented, and what is kept."""

    shorter_side_pixels: int = Field(240, ge=96, le=720, description="Shorter side at which frames are decoded.")
    max_frames: int = Field(20_000, ge=2, description="Decoding stops after this many frames of one video.")
    max_source_pixels: int = Field(
        36_000_000, ge=10_000, description="Videos whose picture has more pixels than this are refused."
    )
    decoder_timeout_seconds: float = Field(
        120.0, gt=0, description="Longest time spent waiting for the decoder, over the whole video."
    )
    decoder_memory_mebibytes: int = Field(
        2048, ge=128, description="Address space the decoder may use, where the platform can limit it."
    )
