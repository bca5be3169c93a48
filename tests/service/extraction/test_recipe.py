"""A motion network in the service: by path or URI, counted in recipes by its bytes, in each record, refused by name."""

import json
import shutil
from pathlib import Path

import boto3
import PIL.Image
import pytest
from typer.testing import CliRunner

from tests.pipeline.masks.drawn_network import save_drawn_network
from tests.service.conftest import MakeContext
from tests.service.records.snapshot_samples import snapshot_samples
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.masks.motion_network import masks_provenance
from watchmove.pipeline.video.encoder import write_video
from watchmove.pipeline.world.drawing import moving_square
from watchmove.service.cli.main import app
from watchmove.service.extraction.recipe import EXTRACTION_VERSION, recipe_of, with_local_weights
from watchmove.service.records.stream import shard_records
from watchmove.service.settings.loading import LAPTOP, load_settings
from watchmove.service.settings.settings import Settings, settings_hash
from watchmove.service.steps.extract import extract
from watchmove.service.steps.gather import gather
from watchmove.service.steps.plan import plan


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A motion network's file."""
    return save_drawn_network(tmp_path_factory.mktemp("weights") / "watch.safetensors")


def settings_with(*words: str) -> Settings:
    """The laptop's settings with some changed."""
    return load_settings(LAPTOP, words)


def test_the_recipe_counts_bytes_and_share_but_no_place(tmp_path: Path) -> None:
    """Same bytes elsewhere: same recipe. Other bytes, another share or no network: another one."""
    files = {name: tmp_path / name for name in ("a.safetensors", "b.safetensors", "c.safetensors")}
    for name, path in files.items():
        save_drawn_network(path, seed=int(name.startswith("c")))
    a, b, c = (recipe_of(settings_with(f"extract.motion_network={path}")) for path in files.values())
    less = recipe_of(
        settings_with(f"extract.motion_network={files['a.safetensors']}", "extract.motion_network_share=0.1")
    )

    assert a == b
    assert len({a, c, less, recipe_of(settings_with())}) == 4


def test_decoding_by_hardware_is_counted_where_it_is_asked_for() -> None:
    """Its frames can differ from those of the CPU; without it, nothing is extracted again."""
    by_gpu = ("extract.device=torch-cpu", "extract.hardware_decoding=true")

    assert recipe_of(settings_with(*by_gpu)) != recipe_of(settings_with(by_gpu[0]))
    assert recipe_of(settings_with("extract.hardware_decoding=false")) == recipe_of(settings_with())


def test_without_a_motion_network_its_share_is_not_counted() -> None:
    """As if there were no such settings, so that nothing is extracted again for them."""
    settings = settings_with("extract.motion_network_share=0.9")
    added = {"motion_network", "motion_network_share", "hardware_decoding"}
    before = settings.extract.model_dump(mode="json", exclude=added)

    assert recipe_of(settings) == recipe_of(settings_with())
    assert recipe_of(settings) == settings_hash(before, masks_provenance(settings.extract), EXTRACTION_VERSION)


def test_weights_come_from_a_bucket_once(s3_environment: str, tmp_path: Path, weights: Path) -> None:
    """The first call fetches, the second finds the file; the recipe is that of the same bytes on disk."""
    client = boto3.client("s3", region_name="us-east-1", endpoint_url=s3_environment)
    client.put_object(Bucket="frames", Key="made/watch.safetensors", Body=weights.read_bytes())
    settings = settings_with("extract.motion_network=s3://frames/made/watch.safetensors")
    first = with_local_weights(settings, tmp_path)
    client.delete_object(Bucket="frames", Key="made/watch.safetensors")
    second = with_local_weights(settings, tmp_path)
    beside = tmp_path / "beside.safetensors"
    beside.write_bytes(weights.read_bytes())

    assert Path(first.extract.motion_network).read_bytes() == weights.read_bytes()
    assert first == second
    assert recipe_of(first) == recipe_of(settings_with(f"extract.motion_network={beside}"))


@pytest.mark.parametrize(
    "weights", ["absent.safetensors", "file:///absent/x.safetensors", "net.pt", "ftp://a/b.safetensors"]
)
def test_weights_that_cannot_be_had_are_one_line(weights: str, tmp_path: Path) -> None:
    """No such file, none of safetensors, or no such kind of store."""
    with pytest.raises(InvalidInput) as raised:
        with_local_weights(settings_with(f"extract.motion_network={weights}"), tmp_path)

    assert "\n" not in str(raised.value)
    assert weights.rpartition("/")[0] in str(raised.value)


@pytest.mark.parametrize("command", ["segment", "bench", "plan", "extract"])
def test_bad_weights_end_every_command_with_65(
    command: str, tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that holds no network, before any frame is read."""
    bad = tmp_path / "bad.safetensors"
    shutil.copyfile(weights, bad)
    (tmp_path / "videos").mkdir()
    places = [word for name in ("store", "videos") for word in ("--set", f"{name}=file://{tmp_path}/{name}")]
    if command == "extract":
        write_video(tmp_path / "videos" / "a.mp4", moving_square((3, 0), 4).frames, 24.0)
        assert CliRunner().invoke(app, ["plan", "--run", "x", "--motion-network", str(bad), *places]).exit_code == 0
    bad.write_bytes(b"nothing of the kind")
    words = {
        "segment": ["segment", str(tmp_path), "--out", str(tmp_path / "out")],
        "bench": ["bench", "masks", "--davis", str(tmp_path)],
        "plan": ["plan", "--run", "y", *places],
        "extract": ["extract", "--run", "x", "--shard", "0", *places],
    }[command]
    done = CliRunner().invoke(app, [*words, "--motion-network", str(bad)])
    said = done.output + capsys.readouterr().err

    assert done.exit_code == 65, said
    assert "extract.motion_network" in said
    assert "bad.safetensors" in said


def test_extraction_with_and_without_a_motion_network_never_mix(
    make_context: MakeContext, tmp_path: Path, weights: Path
) -> None:
    """Of one video two recipes; record and frames name the digest, and a plan is extracted as it was made."""
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "a.mp4", moving_square((3, 0), 16, height=320).frames, 24.0)
    small = ("work.workers=1", "work.video_memory_mebibytes=3584")
    taught, plain = make_context(f"extract.motion_network=file://{weights}", *small), make_context(*small)
    planned, without = plan(taught, "taught"), plan(plain, "plain")
    with pytest.raises(InvalidInput, match="the settings of the plan, its motion network included"):
        extract(plain, "taught", 0)
    extract(taught, "taught", 0)
    [(_, record)] = shard_records(taught.store, planned.recipe)
    digest = masks_provenance(with_local_weights(taught.settings, tmp_path).extract)["motion_network_sha256"]
    samples = snapshot_samples(taught, gather(taught, "taught"))

    assert planned.recipe != without.recipe
    assert record.made_by.inputs["motion_network_sha256"] == digest
    assert record.made_by.settings["extract"]["motion_network"] == f"file://{weights}"
    assert samples
    assert {sample.metadata["motion_network_sha256"] for sample in samples} == {digest}
    assert not list(shard_records(plain.store, without.recipe))


def test_segment_takes_a_motion_network(tmp_path: Path, weights: Path) -> None:
    """It is asked about frames in which nothing moves, and every row of facts has its digest."""
    frame = next(iter(moving_square((3, 0), 1).frames))
    (tmp_path / "frames").mkdir()
    for number in range(6):
        PIL.Image.fromarray(frame).save(tmp_path / "frames" / f"{number}.png")
    line = ["segment", str(tmp_path / "frames"), "--out", str(tmp_path / "out"), "--motion-network", str(weights)]
    done = CliRunner().invoke(app, line)
    rows = [json.loads(line) for line in (tmp_path / "out" / "frames.jsonl").read_text().splitlines()]

    assert done.exit_code == 0, done.output
    assert len({row["motion_network_sha256"] for row in rows}) == 1
    assert "motion-network" in rows[0]["cpu_seconds"]
