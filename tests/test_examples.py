"""The examples do what their first lines say, on small drawn data."""

import re
import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest

from watchmove.pipeline.networks.alexnet import random_backbone
from watchmove.pipeline.networks.torchvision_layout import save_in_torchvision_layout
from watchmove.pipeline.voc.annotations import read_voc, write_split
from watchmove.pipeline.voc.detections import Detection, write_detections
from watchmove.pipeline.world.detection_images import draw_voc_image
from watchmove.pipeline.world.video import moving_square

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """A folder in VOC's layout with 24 drawn images."""
    names = [f"{number:02d}" for number in range(24)]
    for number, name in enumerate(names):
        draw_voc_image(tmp_path / "voc", name, np.random.default_rng(number), (160, 120))
    write_split(tmp_path / "voc", "train", names)
    return tmp_path / "voc"


def run(name: str, *arguments: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What an example prints, run as a script in this process."""
    monkeypatch.setattr("sys.argv", [name, *map(str, arguments)])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    return capsys.readouterr().out


def test_masks_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The square that moves is found in every frame."""
    drawn = moving_square((3, 0), 8)
    (tmp_path / "frames").mkdir()
    for number, frame in enumerate(drawn.frames):
        cv2.imwrite(str(tmp_path / "frames" / f"{number}.png"), frame[..., ::-1])
    printed = run("masks_of_a_folder", tmp_path / "frames", tmp_path / "masks", monkeypatch=monkeypatch, capsys=capsys)
    found = [
        np.asarray(cv2.imread(str(tmp_path / "masks" / f"{n}.png"), cv2.IMREAD_GRAYSCALE)) >= 128 for n in range(8)
    ]
    overlaps = [(mask & true).sum() / (mask | true).sum() for mask, true in zip(found, drawn.masks, strict=True)]

    assert len(re.findall(r"^\d: \d+\.\d% of the frame moves$", printed, re.MULTILINE)) == 8
    assert min(overlaps) > 0.7


def test_train_a_head(
    voc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even on random features, a head of 4096 inputs learns 24 images by heart."""
    weights = tmp_path / "backbone.torchvision.safetensors"
    save_in_torchvision_layout(random_backbone(0), weights, {})
    printed = run("train_a_head", weights, voc, monkeypatch=monkeypatch, capsys=capsys)

    assert float(re.findall(r": ([\d.]+)% of the labels are right", printed)[0]) > 90


def test_score_detections(
    voc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Detections that are the annotated boxes have an average precision of one."""
    found: dict[str, list[Detection]] = {}
    for image in read_voc(voc, "train"):
        for one in image.objects:
            found.setdefault(one.name, []).append(Detection(image.image_id, 1.0, one.box_xyxy))
    write_detections(tmp_path / "found", "train", found)
    printed = run("score_detections", voc, tmp_path / "found", monkeypatch=monkeypatch, capsys=capsys)

    assert printed.splitlines()[-1].split() == ["mean", "1.000", "1.000"]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_is_short_and_says_how_to_run_it(path: Path) -> None:
    """Fewer than 60 lines, and its first line holds the command."""
    lines = path.read_text(encoding="utf-8").splitlines()

    assert len(lines) < 60
    assert f"`python examples/{path.name} " in lines[0]
