"""The teacher's prediction covers the object, is averaged with the motion evidence, and is off by default."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tests.pipeline.masks.centred_teacher import save_centred_teacher
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.masks.choice import shot_segmenter
from watchmove.pipeline.masks.teacher import average_with_teacher, load_teacher, masks_provenance
from watchmove.pipeline.masks.teacher_network import TeacherNetwork, object_squares
from watchmove.pipeline.pretraining.examples import TARGET_PIXELS
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.world.video import moving_square

CPU = torch.device("cpu")


class Brightness(nn.Module):
    """A mask network that predicts what is brighter than the mean image."""

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 56, 56) of (N, 3, 227, 227)."""
        small = functional.interpolate(images.mean(1, keepdim=True), (TARGET_PIXELS, TARGET_PIXELS), mode="area")
        return 20 * small[:, 0]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher's weights; it predicts a square in the middle of each crop."""
    return save_centred_teacher(tmp_path_factory.mktemp("teacher") / "mask_network.safetensors")


def blob(shape: tuple[int, int], rows: slice, columns: slice) -> NDArray[np.float32]:
    """Motion evidence (h, w) of 0.8 in a rectangle."""
    evidence = np.zeros(shape, np.float32)
    evidence[rows, columns] = 0.8
    return evidence


def overlap(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Intersection over union."""
    return float((first & second).sum() / (first | second).sum())


def test_prediction_covers_the_whole_object() -> None:
    """Motion shows half of a bright object; the prediction has its place and outline, also at the image's border."""
    for left in (0, 92, 176):
        image = np.full((240, 320, 3), 30, np.uint8)
        image[80:160, left : left + 112] = 240
        evidence = blob((60, 80), slice(20, 40), slice(left // 4, left // 4 + 14))
        [prediction] = TeacherNetwork(Brightness(), CPU).predict([image], [evidence])
        true = cv2.resize(image[..., 0], (80, 60), interpolation=cv2.INTER_AREA) > 127
        inside_crops = ~np.isnan(prediction)

        assert overlap(prediction[inside_crops] >= 0.5, true[inside_crops]) > 0.9
        assert prediction[inside_crops].min() >= 0
        assert prediction[inside_crops].max() <= 1
        assert 0.05 < inside_crops.mean() < 0.9


def test_nothing_is_predicted_without_motion_evidence() -> None:
    """No motion and a small speck give no crop and no prediction; two objects give the crops of two."""
    image = np.zeros((240, 320, 3), np.uint8)
    still, speck = np.zeros((60, 80), np.float32), blob((60, 80), slice(3, 5), slice(3, 5))
    predictions = TeacherNetwork(Brightness(), CPU).predict([image, image], [still, speck])
    two = np.maximum(blob((60, 80), slice(5, 15), slice(5, 15)), blob((60, 80), slice(30, 50), slice(50, 70)))

    assert all(np.isnan(prediction).all() for prediction in predictions)
    assert [(square.centre_x, square.centre_y) for square in object_squares(two)][::3] == [(60, 40), (10, 10)]


def test_the_average_is_weighted_by_the_teachers_share(weights: Path) -> None:
    """Where the teacher predicts 1: (1 - share) * evidence + share; outside of all crops the evidence, bit for bit."""
    evidence = blob((60, 80), slice(20, 40), slice(30, 50))
    evidence[:4] = 0.1
    settings = ExtractionSettings(teacher=str(weights), teacher_share=0.25)
    [mixed] = average_with_teacher([np.zeros((240, 320, 3), np.uint8)], [evidence], settings)

    assert mixed.dtype == np.float32
    assert mixed[30, 40] == pytest.approx(0.75 * 0.8 + 0.25, abs=0.01)
    assert np.array_equal(mixed[:4], evidence[:4])


def test_there_is_no_teacher_by_default() -> None:
    """The evidence is passed on unchanged, no digest is recorded, and a worker does not load torch."""
    evidence = [blob((60, 80), slice(20, 40), slice(30, 50))]
    settings = ExtractionSettings()

    assert load_teacher(settings) is None
    assert average_with_teacher([np.zeros((240, 320, 3), np.uint8)], evidence, settings)[0] is evidence[0]
    assert masks_provenance(settings) == {"flow": "dis"}
    code = "import watchmove.service.extraction.child, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


@pytest.mark.parametrize("device", ["cpu", "torch-cpu"])
def test_both_segmenters_use_it(weights: Path, device: str) -> None:
    """The moving square is found; its masks differ from those without a teacher, and hardly between both segmenters."""
    cv2.setNumThreads(1)
    video = moving_square((3.0, 0.0), 8)
    frames = list(video.frames)
    with_it = ExtractionSettings(teacher=str(weights), device=device, flow="dis")
    without = with_it.model_copy(update={"teacher": ""})
    on, off, reference = (
        np.stack([frame.soft_mask for frame in shot_segmenter(settings)([frames])[0]])
        for settings in (with_it, without, with_it.model_copy(update={"device": "cpu"}))
    )

    assert overlap(on >= 0.5, video.masks) > 0.8
    assert not np.array_equal(on, off)
    assert np.abs(on - reference).mean() < 0.005


def test_provenance_has_the_digest_of_its_weights(weights: Path, tmp_path: Path) -> None:
    """Other weights have another digest."""
    other = save_centred_teacher(tmp_path / "other.safetensors", certainty=5.0)
    first, second = (masks_provenance(ExtractionSettings(teacher=str(path))) for path in (weights, other))

    assert first["flow"] == second["flow"] == "dis"
    assert len(first["teacher_sha256"]) == 64
    assert first["teacher_sha256"] != second["teacher_sha256"]


@pytest.mark.parametrize("content", [None, b"", b"\x80\x04pickle", b"\xff" * 64])
def test_bad_weights_give_one_line(content: bytes | None, tmp_path: Path) -> None:
    """A missing, empty or foreign file: the message names the setting and the file."""
    path = tmp_path / "weights.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"extract\.teacher.*weights\.safetensors") as raised:
        load_teacher(ExtractionSettings(teacher=str(path)))

    assert "\n" not in str(raised.value)
