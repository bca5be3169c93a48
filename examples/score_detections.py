"""Score detections by PASCAL VOC's average precision: `python examples/score_detections.py VOC DETECTIONS`.

VOC is a folder in VOC's layout, DETECTIONS one with the kit's result files, comp4_det_SPLIT_CLASS.txt. The command
`watchmove score` does this with more options. Detections that a program holds in memory are scored by
`evaluate_detections` of the same module.
"""

import sys
from pathlib import Path

from watchmove.pipeline.voc.average_precision import DetectionScores, score_directory


def table(scores: DetectionScores) -> str:
    """One line for each class and one for the mean: 11-point and area average precision, – where there is none."""
    rows = [(name, one.ap_11_point, one.ap_area) for name, one in scores.per_class.items()]
    rows.append(("mean", scores.mean_ap_11_point, scores.mean_ap_area))
    return "\n".join(f"{name:16} {_figure(eleven_point):>8} {_figure(area):>8}" for name, eleven_point, area in rows)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def main(voc: Path, detections: Path) -> None:
    """Print the scores of a folder of result files."""
    print(table(score_directory(voc, detections, iou_threshold=0.5)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
