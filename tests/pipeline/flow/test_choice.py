"""Each flow method on images that move by a known step, alone and in batches, and the settings that choose it."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torchvision.models.optical_flow import raft_small

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.flow.choice import chosen_method, flow_method, flow_provenance
from watchmove.pipeline.flow.dis import FlowMethod, dense_flow
from watchmove.pipeline.flow.raft import RaftFlow, weights_sha256
from watchmove.pipeline.settings.extraction import ExtractionSettings

Greys = NDArray[np.uint8]


def texture(height: int, width: int, seed: int = 0) -> NDArray[np.float32]:
    """Smooth random texture in [0, 255]."""
    noise = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    mixed = sum(cv2.GaussianBlur(noise, (0, 0), sigma) * sigma for sigma in (1.5, 4.0, 9.0))
    return np.asarray(np.clip(128 + 60 * mixed / np.std(mixed), 0, 255), np.float32)


def seen_through(picture: NDArray[np.float32], affine: NDArray[np.float64], height: int, width: int) -> Greys:
    """The middle (height, width) of `picture` where `affine` (2, 3) carries the points of the result to."""
    margin_y, margin_x = ((big - small) // 2 for big, small in zip(picture.shape, (height, width), strict=True))
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    points = affine @ np.stack([columns.ravel(), rows.ravel(), np.ones(height * width)])
    x, y = (points[k].reshape(height, width).astype(np.float32) for k in (0, 1))
    seen = cv2.remap(picture, x + np.float32(margin_x), y + np.float32(margin_y), cv2.INTER_CUBIC)
    return np.asarray(np.clip(seen, 0, 255).round(), np.uint8)


def shifted_pair(step: tuple[float, float], height: int = 96, width: int = 128, seed: int = 0) -> tuple[Greys, Greys]:
    """A texture, and the same moved by `step` pixels, x then y."""
    picture = texture(height + 80, width + 80, seed)
    still, moved = np.eye(2, 3), np.eye(2, 3)
    moved[:, 2] -= step
    return seen_through(picture, still, height, width), seen_through(picture, moved, height, width)


@pytest.fixture(params=["dis", "variational"])
def method(request: pytest.FixtureRequest) -> FlowMethod:
    """A method that needs no weights."""
    return flow_method(ExtractionSettings(flow=request.param))


@pytest.mark.parametrize("step", [(0.5, -0.25), (3.0, 2.0), (-14.0, 9.0)])
def test_a_shifted_texture_moves_by_its_step(method: FlowMethod, step: tuple[float, float]) -> None:
    """Away from the border, to a tenth of a pixel on average, from a quarter of a pixel to seventeen."""
    first, second = shifted_pair(step)
    field = method(first[None], second[None])[0]

    assert field.dtype == np.float32
    assert np.abs(field[20:-20, 20:-20] - np.asarray(step, np.float32)).mean() < 0.1


def test_a_zoom_moves_away_from_the_middle(method: FlowMethod) -> None:
    """A picture enlarged by a twentieth about its middle moves in proportion to the distance from it."""
    height, width, zoom = 96, 128, 1.05
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    enlarged = np.column_stack([np.eye(2) / zoom, middle - middle / zoom])
    picture = texture(height + 80, width + 80)
    first, second = (seen_through(picture, affine, height, width) for affine in (np.eye(2, 3), enlarged))
    rows, columns = np.mgrid[:height, :width]
    truth = (np.dstack([columns, rows]) - middle) * (zoom - 1)
    error = np.linalg.norm(method(first[None], second[None])[0] - truth, axis=-1)

    assert error[16:-16, 16:-16].mean() < 0.1


def test_identical_frames_do_not_move(method: FlowMethod) -> None:
    """Flow from a frame to itself is zero."""
    first, _ = shifted_pair((0, 0))

    assert np.abs(method(first[None], first[None])).max() < 0.01


def test_a_batch_gives_what_its_pairs_give_alone(method: FlowMethod) -> None:
    """More pairs than are computed at once, each with another step: the same fields as one by one."""
    steps = [(0.3 * k - 2, 1 - 0.2 * k) for k in range(18)]
    pairs = [shifted_pair(step, 40, 56, seed) for seed, step in enumerate(steps)]
    firsts, seconds = (np.stack([pair[side] for pair in pairs]) for side in (0, 1))
    together = method(firsts, seconds)
    alone = np.concatenate([method(firsts[k : k + 1], seconds[k : k + 1]) for k in range(len(steps))])

    assert together.shape == (18, 40, 56, 2)
    assert np.abs(together - alone).max() < 0.01


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_flat_pair_has_no_flow(method: FlowMethod, value: int) -> None:
    """Black, grey and white frames give zero, not what is no number."""
    flat = np.full((1, 64, 80), value, np.uint8)

    assert np.abs(method(flat, flat)).max() < 1e-6


def test_fading_to_black_gives_numbers(method: FlowMethod) -> None:
    """A picture against black, both ways, is flow without meaning, but finite."""
    first, _ = shifted_pair((0, 0), 64, 80)
    black = np.zeros_like(first)

    assert np.isfinite(method(np.stack([first, black]), np.stack([black, first]))).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3), (5, 200), (17, 16)])
def test_tiny_and_thin_pictures_have_flow(size: tuple[int, int]) -> None:
    """The variational method has no smallest size."""
    first, second = np.random.default_rng(0).integers(0, 256, (2, 1, *size)).astype(np.uint8)
    field = flow_method(ExtractionSettings(flow="variational"))(first, second)

    assert field.shape == (1, *size, 2)
    assert np.isfinite(field).all()


def end_point_error(field: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    """Mean length of the difference where the truth is known."""
    known = np.abs(truth).max(axis=-1) < 1e6
    return float(np.linalg.norm(field - truth, axis=-1)[known].mean())


def test_variational_flow_is_nearer_the_truth_than_dis_medium(test_data: Path) -> None:
    """On three pairs with large motion of FlyingChairs and on Middlebury's RubberWhale."""
    folder = test_data / "flow"
    whale = np.fromfile(folder / "middlebury_rubberwhale" / "flow_gt.flo", np.float32, offset=12)
    cases = [("middlebury_rubberwhale/rubberwhale{}.png", whale.reshape(388, 584, 2))]
    for number in ("00001", "00002", "00003"):
        with np.load(folder / "flyingchairs3" / f"{number}_flow.npz", allow_pickle=False) as chairs:
            cases.append((f"flyingchairs3/{number}_img{{}}.png", chairs[chairs.files[0]].astype(np.float32)))
    medium = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    variational = flow_method(ExtractionSettings(flow="variational"))
    for name, truth in cases:
        first, second = (np.asarray(cv2.imread(str(folder / name.format(k)), 0), np.uint8) for k in (1, 2))
        reference = np.asarray(medium.calc(first, second, None), np.float32)  # type: ignore[call-overload]

        assert end_point_error(variational(first[None], second[None])[0], truth) < end_point_error(reference, truth)


def test_dis_is_the_flow_of_windows() -> None:
    """The method "dis" is what segmentation uses on the CPU."""
    first, second = shifted_pair((2, 1))
    field = flow_method(ExtractionSettings(flow="dis"))(first[None], second[None])

    assert np.array_equal(field[0], dense_flow(first, second))


@pytest.mark.parametrize(("device", "name"), [("cpu", "dis"), ("cuda", "variational")])
def test_auto_goes_by_the_device(device: str, name: str) -> None:
    """OpenCV's on the CPU, torch's on a GPU."""
    settings = ExtractionSettings.model_validate({"device": device})

    assert chosen_method(settings) == name
    assert flow_provenance(settings) == {"flow": name}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here, so cuda is no mistake")
def test_cuda_where_there_is_none_gets_one_line() -> None:
    """The line names the setting and what would do."""
    with pytest.raises(InvalidInput, match=r"extract\.device \(cuda\): .* set it to cpu"):
        flow_method(ExtractionSettings(device="cuda"))


def test_raft_without_weights_is_refused() -> None:
    """Weights are never fetched, so the settings must name them."""
    with pytest.raises(ValidationError, match="needs raft_weights"):
        ExtractionSettings(flow="raft")


@pytest.fixture(scope="module")
def raft_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the small network, random."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("raft") / "raft.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in raft_small(weights=None).state_dict().items()}, path)
    return path


def test_raft_runs_the_users_weights(raft_weights: Path) -> None:
    """Frames smaller than the network takes are padded for it; the field is what torchvision's own call gives."""
    first, second = shifted_pair((2, 1), 130, 133)
    settings = ExtractionSettings(flow="raft", raft_weights=str(raft_weights))
    field = flow_method(settings)(first[None], second[None])
    network = raft_small(weights=None).eval()
    network.load_state_dict(load_file(raft_weights))
    pictures = [np.pad(grey, ((0, 6), (0, 3)), mode="edge") / np.float32(127.5) - 1 for grey in (first, second)]
    batches = [torch.from_numpy(picture).expand(1, 3, -1, -1) for picture in pictures]
    with torch.inference_mode():
        reference = network(*batches)[-1][0, :, :130, :133].permute(1, 2, 0).numpy()

    assert np.abs(field[0] - reference).max() < 1e-3
    assert flow_provenance(settings) == {"flow": "raft", "raft_weights_sha256": weights_sha256(raft_weights)}


def test_raft_pads_pictures_below_its_least_size(raft_weights: Path) -> None:
    """Forty pixels are enough."""
    first, second = shifted_pair((2, 1), 40, 56)
    field = flow_method(ExtractionSettings(flow="raft", raft_weights=str(raft_weights)))(first[None], second[None])

    assert field.shape == (1, 40, 56, 2)


def test_weights_that_do_not_fit_get_one_line(tmp_path: Path) -> None:
    """Missing file, another format, a tensor too few, one of another shape, one that is not finite."""
    tensors = {name: tensor.contiguous() for name, tensor in raft_small(weights=None).state_dict().items()}
    name = next(iter(tensors))
    cases = {"text": b"not tensors", "pickle": b"\x80\x02}q\x00."}
    for case, content in cases.items():
        (tmp_path / case).write_bytes(content)
    save_file({key: value for key, value in tensors.items() if key != name}, tmp_path / "fewer")
    save_file({**tensors, name: torch.zeros(3)}, tmp_path / "shape")
    save_file({**tensors, name: torch.full_like(tensors[name], float("nan"))}, tmp_path / "nan")

    for case in ("absent", "text", "pickle", "fewer", "shape", "nan"):
        with pytest.raises(InvalidInput, match=r"extract\.raft_weights \(.*; give torchvision") as raised:
            RaftFlow(tmp_path / case, torch.device("cpu"))
        assert "\n" not in str(raised.value)
