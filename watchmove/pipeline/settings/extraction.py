"""Settings of extraction, which turns one video file into soft masks of its moving objects."""

from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from watchmove.pipeline.settings import Section, Seed


class ExtractionSettings(Section):
    """How a video is decoded, which frames are examined, how they are segmented, and which of them are kept."""

    shorter_side_pixels: int = Field(
        default=240,
        ge=96,
        le=720,
        description="Shorter side, in pixels, to which frames are scaled when they are decoded.",
    )
    # These four bound the time and memory that one long or hostile video can take; they are not tuned.
    max_frames: int = Field(
        default=20_000, ge=2, description="Largest number of frames of one video that are read, decoded or passed over."
    )
    max_source_pixels: int = Field(
        default=36_000_000,
        ge=10_000,
        description="Largest number of pixels in a frame of a video; a video of larger frames is unreadable.",
    )
    decoder_timeout_seconds: float = Field(
        default=120.0,
        gt=0,
        description="Longest total time, in seconds, that extraction waits for the decoder of one video of up to "
        "1920x1080 pixels, and in proportion to the pixels above; the frames decoded by then are used.",
    )
    decoder_memory_mebibytes: int = Field(
        default=2048,
        ge=128,
        description="Address space of the decoder process, in MiB, where the platform can limit it; with "
        "`hardware_decoding`, its data alone.",
    )

    reading: Literal["sparse", "complete"] = Field(
        default="sparse",
        description="How videos are read: `sparse` decodes the key frames and then only what the windows need, where "
        "the file permits that; `complete` decodes every frame.",
    )
    cut_difference: float = Field(
        # chosen on 164 joined test clips (tests/bench/cuts.py); F1 is within 0.015 of its best from 6 to 10
        default=8.0,
        gt=0,
        le=255,
        description="Least mean change of hue, saturation and value, in levels of 0 to 255, that makes a cut.",
    )
    window_frames: int = Field(
        default=16,
        ge=3,
        le=64,
        description="Number of consecutive frames in a window, the unit in which optical flow is computed.",
    )
    min_window_frames: int = Field(
        default=6, ge=3, le=64, description="Smallest number of frames in a shot; shorter shots are rejected."
    )
    # Chosen on the training sequences of DAVIS 2016 (docs/explanation/masks.md, "Windows").
    windows_per_shot: int = Field(
        default=2,
        ge=1,
        le=16,
        description="Largest number of windows in one shot; they are spread evenly over it and segmented together.",
    )
    windows_per_video: int = Field(
        default=48, ge=1, le=512, description="Decoding stops once this many windows of one video have been segmented."
    )
    frames_per_window: int = Field(
        default=8, ge=1, le=16, description="Number of frames examined in each window, as candidates to be kept."
    )

    # A gap of three frames adds 0.011 to J on the 30 training sequences of DAVIS 2016 (docs/explanation/masks.md).
    motion_gaps: tuple[PositiveInt, ...] = Field(
        default=(1, 3),
        min_length=1,
        description="Distances, in frames, over which motion is measured; longer distances reveal slower motion.",
    )
    appearance_units: int = Field(
        default=200, ge=8, le=1000, description="Number of random hidden units in the appearance model of a shot."
    )
    seed: Seed = Field(default=0, description="Seed of all random choices in extraction.")

    device: Literal["cpu", "cuda", "torch-cpu"] = Field(
        default="cpu",
        description="Device that computes masks; `torch-cpu` runs the code for `cuda` on the CPU, to check it.",
    )
    hardware_decoding: bool = Field(
        default=False,
        description="Whether the GPU decodes videos (NVDEC); needs the device `cuda`. A video that it does not decode "
        "without an error is decoded on the CPU.",
    )
    flow: Literal["auto", "dis", "variational", "raft"] = Field(
        default="auto",
        description=(
            "Method of optical flow; `auto` selects `dis` for the device `cpu` and `variational` for the others."
        ),
    )
    raft_weights: str = Field(
        default="",
        description="Local safetensors file of torchvision's raft_large or raft_small; required by the flow `raft`.",
    )
    motion_network: str = Field(
        default="",
        description="File or URI of the weights that `watchmove teach` wrote. Shots whose masks are doubtful are "
        "segmented once more, with the network's prediction in the motion evidence. Empty: none.",
    )
    # Measured in docs/explanation/masks.md, "A motion network".
    motion_network_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Weight of the motion network's prediction in its average with the motion evidence.",
    )

    # Slower motion cannot be distinguished from the noise of the flow (docs/explanation/masks.md).
    min_motion_pixels: float = Field(
        default=0.3, ge=0, description="Smallest motion of an object relative to its surroundings, in pixels per frame."
    )
    min_flow_trust: float = Field(
        default=0.85,
        ge=0,
        le=1,
        description="Smallest mean forward-backward consistency of the optical flow in a frame, from 0 to 1.",
    )
    max_moving_fraction: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="Largest fraction of a frame with independent motion; frames with more are discarded.",
    )
    min_area_fraction: float = Field(
        default=0.01, ge=0, le=1, description="Smallest area of a mask, as a fraction of the frame."
    )
    max_area_fraction: float = Field(
        default=0.5, gt=0, le=1, description="Largest area of a mask, as a fraction of the frame."
    )
    max_border_fraction: float = Field(
        default=0.25, ge=0, le=1, description="Largest fraction of the frame's border that a mask may cover."
    )
    min_object_fraction: float = Field(
        default=0.75,
        ge=0,
        le=1,
        description="Smallest fraction of a mask in connected parts of at least `min_area_fraction` each.",
    )
    # Chosen on the training sequences of DAVIS 2016, where all rules together keep 70 % of the frames (mean J 0.811).
    min_confidence: float = Field(
        default=0.65,
        ge=0,
        le=1,
        description="Smallest confidence of a mask, from 0 to 1; frames below it are discarded.",
    )
    # Where such masks break one of these rules, they are as good as others: docs/explanation/masks.md, "Pruning".
    trusted_confidence: float = Field(
        default=0.8,
        ge=0,
        le=1,
        description="Confidence of a mask from which its frame is not rejected as `fade`, nor by `min_flow_trust` or "
        "`max_moving_fraction`.",
    )
    min_change: float = Field(
        default=0.02,
        ge=0,
        le=1,
        description="Smallest mean difference between two kept frames of a shot, as a fraction of the pixel range.",
    )
    max_frames_per_shot: int = Field(default=8, ge=1, description="Largest number of frames kept from one shot.")
    audited_frames_per_reason: int = Field(
        default=1,
        ge=0,
        description="Number of discarded frames that are stored for inspection, per video and reject reason.",
    )

    @model_validator(mode="after")
    def _hardware_is_used(self) -> Self:
        if self.hardware_decoding and self.device == "cpu":
            raise ValueError(
                "hardware_decoding (true) needs a GPU, and device is cpu; set device: cuda, or leave it out"
            )
        return self

    @model_validator(mode="after")
    def _raft_has_weights(self) -> Self:
        if self.flow == "raft" and not self.raft_weights:
            raise ValueError('flow (raft) needs raft_weights (""); name a safetensors file, or take variational')
        return self

    @model_validator(mode="after")
    def _gaps_are_distinct(self) -> Self:
        if len(set(self.motion_gaps)) < len(self.motion_gaps):
            raise ValueError(f"motion_gaps ({list(self.motion_gaps)}) has a distance twice; give each once")
        return self

    @model_validator(mode="after")
    def _ranges_are_not_empty(self) -> Self:
        for low, high in (("min_window_frames", "window_frames"), ("min_area_fraction", "max_area_fraction")):
            if getattr(self, low) > getattr(self, high):
                raise ValueError(f"{low} ({getattr(self, low)}) is above {high} ({getattr(self, high)}); lower it")
        return self
