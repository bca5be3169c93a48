"""Settings of extraction: from one video file to soft masks of what moved in it."""

from typing import Literal, Self

from pydantic import Field, model_validator

from watchmove.pipeline.settings import Section


class ExtractionSettings(Section):
    """How a video is decoded, which frames are looked at, how they are segmented, and what is kept."""

    shorter_side_pixels: int = Field(
        default=240, ge=96, le=720, description="Shorter side at which frames are decoded."
    )
    max_frames: int = Field(default=20_000, ge=2, description="Decoding stops after this many frames of one video.")
    max_source_pixels: int = Field(
        default=36_000_000, ge=10_000, description="Videos whose picture has more pixels than this are refused."
    )
    decoder_timeout_seconds: float = Field(
        default=120.0, gt=0, description="Longest time spent waiting for the decoder, over the whole video."
    )
    decoder_memory_mebibytes: int = Field(
        default=2048, ge=128, description="Address space the decoder may use, where the platform can limit it."
    )

    cut_distance: float = Field(
        default=0.18, gt=0, le=1, description="Share of a picture's colours that must change at once for a cut."
    )
    window_frames: int = Field(
        default=16, ge=3, le=64, description="Consecutive frames in a window, inside which flow is followed."
    )
    min_window_frames: int = Field(
        default=6, ge=3, le=64, description="Shots with fewer frames than this are rejected."
    )
    windows_per_shot: int = Field(
        default=3, ge=1, le=16, description="Most windows of one shot, spread over it and segmented together."
    )
    windows_per_video: int = Field(
        default=48, ge=1, le=512, description="Decoding stops when this many windows of one video have been segmented."
    )
    frames_per_window: int = Field(
        default=8, ge=1, le=16, description="Frames of each window that are looked at for keeping."
    )

    motion_gaps: tuple[int, ...] = Field(
        default=(1, 3),
        min_length=1,
        description="Frames over which motion is looked at; longer ones show what is slow.",
    )
    appearance_units: int = Field(
        default=200, ge=8, le=1000, description="Random units of the appearance model of a shot."
    )
    seed: int = Field(default=0, ge=0, description="Seed of everything random in extraction.")

    device: Literal["cpu", "cuda", "torch-cpu"] = Field(
        default="cpu", description="Where masks are computed; torch-cpu runs the code for cuda on the CPU, to check it."
    )
    flow: Literal["auto", "dis", "variational", "raft"] = Field(
        default="auto", description="How flow is found; auto takes dis on the cpu, else variational."
    )
    raft_weights: str = Field(
        default="", description="Local safetensors file of torchvision's raft_large or raft_small, for flow raft."
    )
    teacher: str = Field(
        default="",
        description="Pretrained mask network whose answers join motion's, a file or its URI; empty: none.",
    )
    teacher_share: float = Field(
        default=0.3, gt=0, le=1, description="Its part of the evidence from which masks are made, where it answers."
    )

    min_motion_pixels: float = Field(
        default=0.3, ge=0, description="Least motion of an object beside its surroundings, in pixels per frame."
    )
    min_flow_trust: float = Field(
        default=0.85, ge=0, le=1, description="Least agreement of the flow there and back, meaned over the picture."
    )
    max_moving_fraction: float = Field(
        default=0.8, gt=0, le=1, description="A frame in which more of the picture moves on its own is dropped."
    )
    min_area_fraction: float = Field(default=0.01, ge=0, le=1, description="Smallest mask, as a share of the picture.")
    max_area_fraction: float = Field(default=0.5, gt=0, le=1, description="Largest mask, as a share of the picture.")
    max_border_fraction: float = Field(
        default=0.25, ge=0, le=1, description="Largest share of the picture's border that a mask may cover."
    )
    min_object_fraction: float = Field(
        default=0.75, ge=0, le=1, description="Least share of a mask in connected parts of the smallest area or more."
    )
    min_confidence: float = Field(
        default=0.65, ge=0, le=1, description="Frames with less confidence than this are dropped."
    )
    min_change: float = Field(
        default=0.02,
        ge=0,
        le=1,
        description="Least mean difference between two kept frames of a shot, of the full range.",
    )
    max_frames_per_shot: int = Field(default=8, ge=1, description="Most frames kept from one shot.")
    audited_frames_per_reason: int = Field(
        default=1,
        ge=0,
        description="Of each video, so many frames dropped for each reason are written beside the kept.",
    )

    @model_validator(mode="after")
    def _raft_has_weights(self) -> Self:
        if self.flow == "raft" and not self.raft_weights:
            raise ValueError('flow (raft) needs raft_weights (""); name a safetensors file, or take variational')
        return self

    @model_validator(mode="after")
    def _ranges_are_not_empty(self) -> Self:
        for low, high in (("min_window_frames", "window_frames"), ("min_area_fraction", "max_area_fraction")):
            if getattr(self, low) > getattr(self, high):
                raise ValueError(f"{low} ({getattr(self, low)}) is above {high} ({getattr(self, high)}); lower it")
        return self
