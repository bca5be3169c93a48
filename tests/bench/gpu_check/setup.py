"""What is compared on which device, and how much of it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sizes:
    """How much is measured. All are set by hand, for eight minutes on a GPU machine or one minute on two cores."""

    shots: int
    frames: int
    """Frames of each shot, in windows of sixteen."""
    width: int
    height: int
    flow_frames: int
    """Frames of which flow and masks by methods in torch are compared: a CPU takes two seconds for a pair of them."""
    decoded_frames: int
    """Frames of a video that is decoded."""
    decoded_width: int
    decoded_height: int
    videos: int
    """Drawn videos whose frames are trained on."""
    trunk: str
    batch: int
    compared_steps: int
    """Steps of pretraining on both devices."""
    timed_steps: int
    """Further steps on the device alone, to measure its speed."""
    rank_batch: int
    images: int
    """Images that the detector is trained and tested on."""
    detector_side: int
    """Shorter side of these images for the network, in pixels."""
    detector_steps: int


FULL = Sizes(
    shots=4,
    frames=48,
    width=426,
    height=240,
    flow_frames=8,
    decoded_frames=150,
    decoded_width=1280,
    decoded_height=720,
    videos=12,
    trunk="alexnet",
    batch=64,
    compared_steps=12,
    timed_steps=48,
    rank_batch=64,
    images=12,
    detector_side=600,
    detector_steps=10,
)
SMALL = Sizes(
    shots=1,
    frames=4,
    width=128,
    height=96,
    flow_frames=3,
    decoded_frames=12,
    decoded_width=160,
    decoded_height=128,
    videos=4,
    trunk="alexnet-small",
    batch=8,
    compared_steps=3,
    timed_steps=3,
    rank_batch=8,
    images=2,
    detector_side=96,
    detector_steps=3,
)


@dataclass(frozen=True)
class Setup:
    """One call of the command; `device` is `cuda`, or `cpu` to run the same code without a GPU."""

    device: str
    sizes: Sizes
    folder: Path
    """For shards, images and checkpoints."""
    raft_weights: str = ""
    """Weights of RAFT, a safetensors file; without it RAFT is not run."""

    @property
    def extraction_device(self) -> str:
        """The value of `extract.device` that runs the GPU's code on this device."""
        return "cuda" if self.device == "cuda" else "torch-cpu"
