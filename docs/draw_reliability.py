"""Draw the reliability diagram of docs/explanation/masks.md from the JSON output of `watchmove bench masks`.

watchmove bench masks --davis DIR --json > bench.json
python docs/draw_reliability.py bench.json
"""

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

PICTURE = Path(__file__).parent / "explanation" / "masks" / "reliability.png"


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path, help="output of `watchmove bench masks --json`")
    ranges = json.loads(parser.parse_args().bench.read_text())["reliability"]
    confidence = [row["mean_confidence"] for row in ranges]
    figure, (axes, counts) = plt.subplots(2, 1, figsize=(6, 5), height_ratios=(3, 1), sharex=True, layout="constrained")
    axes.plot((0, 1), (0, 1), color="0.7", linestyle="--", label="J equal to the confidence")
    axes.plot(confidence, [row["mean_j"] for row in ranges], marker="o", label="mean J")
    axes.plot(
        confidence, [row["at_least_half_right"] for row in ranges], marker="s", label="share with J of at least 0.5"
    )
    axes.axvline(0.65, color="0.4", linestyle=":", label="extract.min_confidence")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="J, share")
    axes.legend(loc="lower right")
    widths = [row["high"] - row["low"] for row in ranges]
    counts.bar(
        [row["low"] for row in ranges], [row["frames"] for row in ranges], widths, align="edge", edgecolor="white"
    )
    counts.set(xlabel="confidence", ylabel="frames")
    figure.savefig(PICTURE, dpi=120)


if __name__ == "__main__":
    main()
