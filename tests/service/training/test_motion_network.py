"""`watchmove teach` on a small drawn run: its weights take part in the masks of the next run."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.service.conftest import MakeContext
from tests.service.records.snapshot_samples import snapshot_samples
from watchmove.pipeline.errors import InvalidInput, Stopped
from watchmove.pipeline.masks.motion_cues import cues_in
from watchmove.pipeline.masks.motion_network_file import header_of
from watchmove.pipeline.video.encoder import write_video
from watchmove.pipeline.world.drawing import moving_square
from watchmove.service.cli.main import app
from watchmove.service.runner.runner import StepContext
from watchmove.service.steps.extract import extract
from watchmove.service.steps.gather import gather
from watchmove.service.steps.plan import plan
from watchmove.service.training.motion_network import teach

SMALL = ("work.workers=1", "work.video_memory_mebibytes=3584", "extract.shorter_side_pixels=120")
STEPS = 10


@pytest.fixture
def context(make_context: MakeContext, tmp_path: Path) -> StepContext:
    """A run of one video that has gathered."""
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "a.mp4", moving_square((3, 0), 16, height=320).frames, 24.0)
    context = make_context(*SMALL)
    plan(context, "first")
    extract(context, "first", 0)
    gather(context, "first")
    return context


def test_a_run_teaches_the_masks_of_the_next(context: StepContext, tmp_path: Path) -> None:
    """The samples have motion; the next run names the weights and the snapshot that taught them."""
    gathered = gather(context, "first")
    samples = snapshot_samples(context, gathered)
    cues = [cues_in(sample.motion_png) for sample in samples]
    weights = tmp_path / "a.safetensors"
    said = teach(context, "first", weights, 3, STEPS)
    extraction = context.settings.extract.model_copy(update={"motion_network": weights.as_uri()})
    taught = replace(context, settings=context.settings.model_copy(update={"extract": extraction}))
    plan(taught, "next")
    extract(taught, "next", 0)
    with_it = snapshot_samples(taught, gather(taught, "next"))
    header = header_of(weights)

    assert all(maps is not None and maps.shape[0] == 4 and maps.max() > 128 for maps in cues)
    assert said.startswith(f"{len(samples)} frames, sha256 ")
    assert (header["dataset"], header["seed"], header["frames"]) == (gathered.dataset, 3, len(samples))
    assert {sample.metadata["motion_network_dataset"] for sample in with_it} == {gathered.dataset}


def test_the_command_writes_the_same_weights_again(context: StepContext, tmp_path: Path) -> None:
    """The bytes decide the recipe of later runs."""
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    teach(context, "first", first, 3, STEPS)
    words = ["--store", str(tmp_path / "store"), "--steps", str(STEPS), "--seed", "3"]
    done = CliRunner().invoke(app, ["teach", "first", "--out", str(second), *words])

    assert done.exit_code == 0, done.output
    assert str(second) in done.output
    assert first.read_bytes() == second.read_bytes()


def test_another_suffix_is_refused_before_any_work(context: StepContext, tmp_path: Path) -> None:
    """Settings take weights by their suffix."""
    with pytest.raises(InvalidInput, match=r"--out .*net\.pt: does not end in \.safetensors"):
        teach(context, "first", tmp_path / "net.pt", 0, STEPS)


@pytest.mark.parametrize(("name", "said"), [("file/a", "could not be written"), ("folder", "is a folder; name a file")])
def test_a_file_that_cannot_be_written_is_refused_before_any_work(
    name: str, said: str, make_context: MakeContext, tmp_path: Path
) -> None:
    """Minutes of training would be lost; the store has no such run, which would be said later."""
    (tmp_path / "file").touch()
    (tmp_path / "folder.safetensors").mkdir()

    with pytest.raises(InvalidInput, match=said):
        teach(make_context(), "first", tmp_path / f"{name}.safetensors", 0, STEPS)


def test_a_stopped_training_writes_nothing(context: StepContext, tmp_path: Path) -> None:
    """A signal ends it at the next step."""
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        teach(replace(context, stop=stop), "first", tmp_path / "w.safetensors", 0, STEPS)

    assert not list(tmp_path.glob("*.safetensors"))
