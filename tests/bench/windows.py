"""Measure masks on DAVIS with other numbers and lengths of the windows that extraction takes from a shot.

    OMP_NUM_THREADS=1 python tests/bench/windows.py --davis DIR [--kinds "as filmed,rocks"] [--windows 3x16,2x16]

Each sequence is a shot. Its windows are spread evenly, and the frames that extraction examines are segmented and pruned
as there. The kinds of frames are those of `tests/bench/near_ground.py`, and so is which frames are scored. Shorter or
fewer windows take less time, of which flow is more than half, and show less of the shot.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from tests.bench.near_ground import KINDS, Shot, scored, shots_of
from watchmove.pipeline.dataset.true_masks import jaccard
from watchmove.pipeline.extraction.pruning import prune_shot
from watchmove.pipeline.extraction.sampled_video import sampled_positions
from watchmove.pipeline.extraction.shot import ExaminedFrame, WindowToExamine, examine_shot
from watchmove.pipeline.extraction.stretches import stretches_of_shot
from watchmove.pipeline.masks.choice import shot_segmenter
from watchmove.pipeline.masks.cpu import segmentation
from watchmove.pipeline.masks.cpu.windows import WindowFlow
from watchmove.pipeline.settings.extraction import ExtractionSettings


@dataclass
class Figures:
    """Of all sequences of one kind: J by sequence and of kept frames, numbers of frames and of flows, and seconds.

    `seconds` is the processor time of everything after flow.
    """

    js: list[float] = field(default_factory=list)
    kept: list[float] = field(default_factory=list)
    good: int = 0
    examined: int = 0
    flows: int = 0
    seconds: float = 0.0


def windows_of(frames: int, settings: ExtractionSettings) -> list[range]:
    """The windows of a shot of so many frames, as a sparse reading places them where each frame is a key frame."""
    length = settings.window_frames
    stretches = stretches_of_shot(range(frames), frames, settings, spread=True)
    firsts = [each.first + number * length for each in stretches for number in range(each.windows)]
    return [range(first, min(first + length, frames)) for first in firsts]


def part_of(flow: WindowFlow, window: range) -> WindowFlow:
    """The flow inside a window, from that of the complete sequence."""
    inside = {(t, step): field for (t, step), field in flow.fields.items() if t in window and t + step in window}
    return WindowFlow(len(window), {(t - window.start, step): field for (t, step), field in inside.items()})


def add_shot(figures: Figures, shot: Shot, settings: ExtractionSettings) -> None:
    """Examine and prune one shot."""
    windows = windows_of(len(shot.images), settings)
    flows = [part_of(shot.flow, window) for window in windows]
    to_examine = [
        WindowToExamine([shot.images[t] for t in window], sampled_positions(len(window), settings))
        for window in windows
    ]
    numbers = [window[position] for window, one in zip(windows, to_examine, strict=True) for position in one.positions]
    given, before = iter(flows), time.process_time()
    with patch.object(segmentation, "window_flow", lambda *_: next(given)):
        found = examine_shot(to_examine, settings, shot_segmenter(settings))
    figures.seconds += time.process_time() - before
    figures.flows += sum(len(flow.fields) for flow in flows)
    figures.examined += len(found)
    good = [place for place, frame in enumerate(found) if frame.reject_reason is None]
    figures.good += len(good)
    pruned = prune_shot(
        [shot.images[numbers[place]] for place in good],
        [found[place].soft_mask for place in good],
        [found[place].confidence for place in good],
        settings,
    )
    kept = {place for place, decision in zip(good, pruned, strict=True) if decision.reason is None}
    js = dict(_scored_js(found, numbers, shot))
    if js:
        figures.js.append(float(np.mean(list(js.values()))))
    # a kept frame whose object is hidden has no J
    figures.kept += [js.get(place, float("nan")) for place in sorted(kept)]


def _scored_js(found: list[ExaminedFrame], numbers: list[int], shot: Shot) -> Iterator[tuple[int, float]]:
    """J of each examined frame that is scored, by its place among them."""
    of_shot = set(scored(range(len(shot.images)), shot))
    for place, (frame, number) in enumerate(zip(found, numbers, strict=True)):
        if number in of_shot:
            yield place, jaccard(frame.soft_mask >= 0.5, shot.truths[number])


def main() -> None:
    """Print a table for each kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--davis", type=Path, required=True, help="folder with JPEGImages/ and Annotations/")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--windows", default="3x16,2x16,3x12,2x12,3x10,3x8", help="numbers and lengths of windows")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    kinds, choices = options.kinds.split(","), options.windows.split(",")
    figures: dict[tuple[str, str], Figures] = defaultdict(Figures)
    for folder in sorted((options.davis / "JPEGImages").iterdir()):
        for kind, shot in zip(KINDS, shots_of(options.davis, folder.name, frames=1000), strict=True):
            for choice in choices if kind in kinds else ():
                number, length = map(int, choice.split("x"))
                settings = ExtractionSettings(windows_per_shot=number, window_frames=length)
                add_shot(figures[kind, choice], shot, settings)
        print(folder.name, flush=True)
    for kind in kinds:
        table = Table("windows", "J", "good", "kept", "J of kept", "at least 0.5", "flows", "s after flow", title=kind)
        for choice in choices:
            one = figures[kind, choice]
            kept = np.array(one.kept)
            known = kept[~np.isnan(kept)]
            shown = (f"{np.mean(one.js):.3f}", f"{one.good / one.examined:.0%}", f"{len(kept)}", f"{known.mean():.3f}")
            table.add_row(choice, *shown, f"{(known >= 0.5).mean():.1%}", f"{one.flows}", f"{one.seconds:.0f}")
        Console().print(table)


if __name__ == "__main__":
    main()
