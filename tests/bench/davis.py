"""How good the masks are on DAVIS-2016: `python tests/bench/davis.py --data DIR [--sequences N] [--frames N]`.

DIR holds JPEGImages/SEQUENCE/*.jpg and Annotations/SEQUENCE/*.png at the size to be measured at. Each sequence is tiled
with windows, as a shot is. J is the intersection over union of soft >= 0.5, first and last frame of a sequence left
out, mean over frames, then over sequences; "kept" are the frames that pruning keeps, but for duplicates and quota.
"""

import argparse
import json
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from pipeline.pruning import MaskFacts, measure_mask, reject_reason
from pipeline.segmentation import segment_window
from pipeline.settings.extraction import ExtractionSettings


@dataclass(frozen=True)
class Scored:
    """One frame: J at 0.5, share of true foreground among pixels >= 0.7 and among those <= 0.4, facts, outcome."""

    sequence: str
    jaccard: float
    precision_above: float
    foreground_below: float
    facts: MaskFacts
    reason: str | None


def jaccard(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks (H, W); 1 where both are empty."""
    union = int((mask | truth).sum())
    return float((mask & truth).sum() / union) if union else 1.0


def read_sequence(data: Path, name: str, most: int) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.bool_]]]:
    """Up to `most` RGB frames and masks of one sequence."""
    images, masks = [], []
    for path in sorted((data / "JPEGImages" / name).glob("*.jpg"))[:most]:
        images.append(np.asarray(PIL.Image.open(path).convert("RGB")))
        mask = np.asarray(PIL.Image.open(data / "Annotations" / name / f"{path.stem}.png").convert("L"))
        masks.append(np.asarray(mask > 127))
    return images, masks


def tiles(count: int, size: int) -> list[tuple[int, int]]:
    """Start and end of windows of about `size` frames that cover `count` frames."""
    edges = np.linspace(0, count, max(1, round(count / size)) + 1).round().astype(int)
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def score_sequence(data: Path, name: str, most: int, settings: ExtractionSettings) -> tuple[list[Scored], float]:
    """Every frame's score but the first and the last one's, and the seconds of processor time per frame."""
    images, truths = read_sequence(data, name, most)
    start = time.process_time()
    moving = [
        frame
        for first, end in tiles(len(images), settings.window_frames)
        for frame in segment_window(images[first:end], settings)
    ]
    seconds = (time.process_time() - start) / len(images)
    scored = []
    for frame, truth in list(zip(moving, truths, strict=True))[1:-1]:
        facts = measure_mask(frame, settings.min_area_fraction)
        above, below = frame.soft_mask >= 0.7, frame.soft_mask <= 0.4
        scored.append(
            Scored(
                name,
                jaccard(frame.soft_mask >= 0.5, truth),
                float(truth[above].mean()) if above.any() else 0.0,
                float(truth[below].mean()) if below.any() else 0.0,
                facts,
                reject_reason(facts, settings),
            )
        )
    return scored, seconds


def _mean_of_sequences(scored: list[Scored]) -> float:
    names = sorted({one.sequence for one in scored})
    means = [float(np.mean([one.jaccard for one in scored if one.sequence == name])) for name in names]
    return float(np.mean(means)) if means else float("nan")


def _line(name: str, scored: list[Scored], seconds: float) -> str:
    kept = [one for one in scored if one.reason is None]
    why = Counter(one.reason for one in scored if one.reason)
    return (
        f"{name:20s} J {_mean_of_sequences(scored):.3f}  kept {len(kept):3d} of {len(scored):3d}"
        f" J {_mean_of_sequences(kept):.3f}  {1000 * seconds:4.0f} CPU ms/frame  {dict(why)}"
    )


def _summary(title: str, group: list[Scored]) -> str:
    if not group:
        return f"{title}: no frames"
    frames, above, below = np.mean([(one.jaccard, one.precision_above, one.foreground_below) for one in group], axis=0)
    poor = np.mean([one.jaccard < 0.5 for one in group])
    return (
        f"{title} ({len(group)} frames): J mean of sequences {_mean_of_sequences(group):.3f}, of frames {frames:.3f},"
        f" below 0.5 {poor:.3f}; true foreground among soft >= 0.7 {above:.3f}, among soft <= 0.4 {below:.3f}"
    )


def main() -> None:
    """Print a line per sequence and the means."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sequences", type=int, default=1000, help="measure this many, spread over the alphabet")
    parser.add_argument("--frames", type=int, default=1000, help="measure the first so many frames of each")
    parser.add_argument("--dump", type=Path, help="write each frame's figures here, one JSON object a line")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    names = sorted(path.name for path in (arguments.data / "JPEGImages").iterdir())
    names = names[:: max(1, len(names) // arguments.sequences)][: arguments.sequences]
    everything: list[Scored] = []
    for name in names:
        scored, seconds = score_sequence(arguments.data, name, arguments.frames, ExtractionSettings())
        everything += scored
        print(_line(name, scored, seconds), flush=True)
    print(_summary("all", everything))
    print(_summary("kept", [one for one in everything if one.reason is None]))
    if arguments.dump:
        arguments.dump.write_text("".join(json.dumps(asdict(one)) + "\n" for one in everything))


if __name__ == "__main__":
    main()
