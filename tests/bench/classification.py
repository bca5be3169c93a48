"""Average precision of linear SVMs on each layer of a trunk, compared with a random trunk, on a set as VOC lays it out.

    python tests/bench/classification.py --voc out/world/voc [--weights backbone.safetensors] [--seeds 0,1,2]

Prints, for each trunk and layer, mean average precision (area and 11-point) on the split `test` after learning from the
split `train`, and processor time.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from watchmove.pipeline.classification.classification import classification_scores, image_labels
from watchmove.pipeline.classification.features import write_features
from watchmove.pipeline.networks.alexnet import AlexNet, load_backbone, random_backbone
from watchmove.pipeline.voc.annotations import read_voc


def trunks(options: argparse.Namespace) -> Iterator[tuple[str, AlexNet]]:
    """The trunks to compare, by name."""
    for seed in map(int, options.seeds.split(",")):
        yield f"random {seed}", random_backbone(seed)
    for path in options.weights:
        yield path.name, load_backbone(path)


def main() -> None:
    """Print one line for each trunk and layer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voc", type=Path, required=True, help="folder with Annotations/, JPEGImages/, ImageSets/")
    parser.add_argument("--weights", type=Path, nargs="*", default=[], help="safetensors files of trunks")
    parser.add_argument("--seeds", default="0", help="seeds of random trunks")
    parser.add_argument("--splits", nargs=2, default=("train", "test"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    train, test = (read_voc(options.voc, split) for split in options.splits)
    classes = sorted({one.name for image in train for one in image.objects})
    labels = [image_labels(images, classes) for images in (train, test)]
    for name, trunk in trunks(options):
        began = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            layers = [layer for layer, _ in trunk.layers()]
            files = write_features(
                trunk, layers, [image.path for image in (*train, *test)], Path(folder), lambda _: None
            )
            print(json.dumps({"trunk": name, "features_seconds": round(time.process_time() - began, 1)}), flush=True)
            for layer, path in files.items():
                began = time.process_time()
                features = torch.from_numpy(np.load(path))
                scores = classification_scores(
                    features[: len(train)], labels[0], features[len(train) :], labels[1], classes
                )
                figures = {"area": scores.mean_ap_area, "11-point": scores.mean_ap_11_point}
                costs = {one: figure.cost for one, figure in scores.per_class.items()}
                seconds = round(time.process_time() - began, 1)
                print(json.dumps({"layer": layer, **figures, "seconds": seconds, "costs": costs}), flush=True)


if __name__ == "__main__":
    main()
