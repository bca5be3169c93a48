"""Accuracy and cost of each flow method: end-point error in pixels and processor time per pair.

    OMP_NUM_THREADS=1 python tests/bench/flow.py --data $WATCHMOVE_TEST_DATA

DIS at OpenCV's preset "medium" is the reference. RAFT is measured only if its weights are given.
"""

import argparse
import time
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from watchmove.pipeline.flow.choice import flow_method
from watchmove.pipeline.flow.dis import FlowMethod
from watchmove.pipeline.settings.extraction import ExtractionSettings

UNKNOWN_FROM = 1e6
FLO_HEADER_BYTES = 12


class Pair(NamedTuple):
    """Two grey frames (H, W) uint8 and the true flow (H, W, 2) float32; unknown where it is huge."""

    name: str
    first: NDArray[np.uint8]
    second: NDArray[np.uint8]
    truth: NDArray[np.float32]


def read_grey(path: Path) -> NDArray[np.uint8]:
    """Grey frame (H, W) uint8."""
    picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise SystemExit(f"{path}: no image; --data needs flow/middlebury_rubberwhale and flow/flyingchairs3")
    return np.asarray(picture, np.uint8)


def read_pairs(folder: Path) -> list[Pair]:
    """Middlebury's RubberWhale and three pairs of FlyingChairs."""
    whale = folder / "middlebury_rubberwhale"
    first, second = (read_grey(whale / f"rubberwhale{k}.png") for k in (1, 2))
    truth = np.fromfile(whale / "flow_gt.flo", np.float32, offset=FLO_HEADER_BYTES).reshape(*first.shape, 2)
    pairs = [Pair("RubberWhale", first, second, truth)]
    for number in ("00001", "00002", "00003"):
        with np.load(folder / "flyingchairs3" / f"{number}_flow.npz", allow_pickle=False) as file:
            truth = file[file.files[0]].astype(np.float32)
        first, second = (read_grey(folder / "flyingchairs3" / f"{number}_img{k}.png") for k in (1, 2))
        pairs.append(Pair(f"chairs {number}", first, second, truth))
    return pairs


def dis_medium(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Compute flow by OpenCV's preset "medium", pair by pair."""
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    fields = [estimator.calc(earlier, later, None) for earlier, later in zip(first, second, strict=True)]  # type: ignore[call-overload]
    return np.asarray(fields, np.float32)


def methods(raft_weights: str) -> dict[str, FlowMethod]:
    """The methods that are measured, by name."""
    found: dict[str, FlowMethod] = {"dis medium": dis_medium}
    found["dis"] = flow_method(ExtractionSettings(flow="dis"))
    found["variational"] = flow_method(ExtractionSettings(flow="variational"))
    if raft_weights:
        found["raft"] = flow_method(ExtractionSettings(flow="raft", raft_weights=raft_weights))
    return found


def measure(method: FlowMethod, pair: Pair) -> tuple[float, float]:
    """Mean end-point error in pixels where the truth is known, and processor milliseconds."""
    before = time.process_time()
    field = method(pair.first[None], pair.second[None])[0]
    milliseconds = 1000 * (time.process_time() - before)
    known = np.abs(pair.truth).max(axis=-1) < UNKNOWN_FROM
    return float(np.linalg.norm(field - pair.truth, axis=-1)[known].mean()), milliseconds


def main() -> None:
    """Print one row for each method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--raft-weights", default="", help="safetensors file of raft_large or raft_small")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    pairs = read_pairs(arguments.data / "flow")
    table = Table("method", *(pair.name for pair in pairs), title="end-point error, pixels (processor ms)")
    for name, method in methods(arguments.raft_weights).items():
        measured = [measure(method, pair) for pair in pairs]
        table.add_row(name, *(f"{error:.3f} ({milliseconds:.0f})" for error, milliseconds in measured))
    Console().print(table)


if __name__ == "__main__":
    main()
