"""A teacher in the service: by path or URI, counted in recipes by its bytes, in every record, refused in one line."""

import json
from pathlib import Path

import boto3
import pytest
from typer.testing import CliRunner

from tests.pipeline.masks.centred_teacher import save_centred_teacher
from tests.service.conftest import MakeContext
from tests.service.records.snapshot_samples import snapshot_samples
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.masks.teacher import masks_provenance
from watchmove.pipeline.video.encoder import write_video
from watchmove.pipeline.world.drawing import moving_square
from watchmove.service.cli.main import app
from watchmove.service.extraction.recipe import EXTRACTION_VERSION, recipe_of, with_local_teacher
from watchmove.service.records.stream import shard_records
from watchmove.service.settings.loading import LAPTOP, load_settings
from watchmove.service.settings.settings import Settings, settings_hash
from watchmove.service.steps.extract import extract
from watchmove.service.steps.gather import gather
from watchmove.service.steps.plan import plan


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher's file."""
    return save_centred_teacher(tmp_path_factory.mktemp("teacher") / "mask_network.safetensors")


def settings_with(*words: str) -> Settings:
    """The laptop's settings with some changed."""
    return load_settings(LAPTOP, words)


def test_the_recipe_counts_bytes_and_share_but_no_place(tmp_path: Path) -> None:
    """Same bytes elsewhere: same recipe. Other bytes, another share or no teacher: another one."""
    files = {name: tmp_path / name for name in ("a.safetensors", "b.safetensors", "c.safetensors")}
    for name, path in files.items():
        path.write_bytes(b"other" if name.startswith("c") else b"same")
    a, b, c = (recipe_of(settings_with(f"extract.teacher={path}")) for path in files.values())
    less = recipe_of(settings_with(f"extract.teacher={files['a.safetensors']}", "extract.teacher_share=0.1"))

    assert a == b
    assert len({a, c, less, recipe_of(settings_with())}) == 4


def test_without_a_teacher_the_recipe_is_what_it_was() -> None:
    """As if there were no such settings, so that nothing is extracted again for them."""
    settings = settings_with("extract.teacher_share=0.9")
    before = settings.extract.model_dump(mode="json", exclude={"teacher", "teacher_share"})

    assert recipe_of(settings) == recipe_of(settings_with())
    assert recipe_of(settings) == settings_hash(before, masks_provenance(settings.extract), EXTRACTION_VERSION)


def test_weights_come_from_a_bucket_once(s3_environment: str, tmp_path: Path) -> None:
    """The first call fetches, the second finds the file; the recipe is that of the same bytes on disk."""
    client = boto3.client("s3", region_name="us-east-1", endpoint_url=s3_environment)
    client.put_object(Bucket="frames", Key="made/teacher.safetensors", Body=b"weights")
    settings = settings_with("extract.teacher=s3://frames/made/teacher.safetensors")
    first = with_local_teacher(settings, tmp_path)
    client.delete_object(Bucket="frames", Key="made/teacher.safetensors")
    second = with_local_teacher(settings, tmp_path)
    beside = tmp_path / "beside.safetensors"
    beside.write_bytes(b"weights")

    assert Path(first.extract.teacher).read_bytes() == b"weights"
    assert first == second
    assert recipe_of(first) == recipe_of(settings_with(f"extract.teacher={beside}"))


@pytest.mark.parametrize(
    "teacher", ["absent.safetensors", "file:///absent/x.safetensors", "net.pt", "ftp://a/b.safetensors"]
)
def test_a_teacher_that_cannot_be_had_is_one_line(teacher: str, tmp_path: Path) -> None:
    """No such file, none of safetensors, or no such kind of store."""
    with pytest.raises(InvalidInput) as raised:
        with_local_teacher(settings_with(f"extract.teacher={teacher}"), tmp_path)

    assert "\n" not in str(raised.value)
    assert teacher.rpartition("/")[0] in str(raised.value)


@pytest.mark.parametrize("command", ["segment", "bench", "plan", "extract"])
def test_bad_weights_end_every_command_with_65(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that holds no network, before any frame is read."""
    bad = tmp_path / "bad.safetensors"
    if command != "plan":
        bad.write_bytes(b"nothing of the kind")
    (tmp_path / "videos").mkdir()
    places = [word for name in ("store", "videos") for word in ("--set", f"{name}=file://{tmp_path}/{name}")]
    if command == "extract":
        write_video(tmp_path / "videos" / "a.mp4", moving_square((3, 0), 4).frames, 24.0)
        assert CliRunner().invoke(app, ["plan", "--run", "x", "--teacher", str(bad), *places]).exit_code == 0
    words = {
        "segment": ["segment", str(tmp_path), "--out", str(tmp_path / "out")],
        "bench": ["bench", "masks", "--davis", str(tmp_path)],
        "plan": ["plan", "--run", "y", *places],
        "extract": ["extract", "--run", "x", "--shard", "0", *places],
    }[command]
    done = CliRunner().invoke(app, [*words, "--teacher", str(bad)])
    said = done.output + capsys.readouterr().err

    assert done.exit_code == 65, said
    assert "extract.teacher" in said
    assert "bad.safetensors" in said


def test_extraction_with_and_without_a_teacher_never_mix(
    make_context: MakeContext, tmp_path: Path, weights: Path
) -> None:
    """Of one video two recipes; record and frames name the digest, and a plan is extracted as it was made."""
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "a.mp4", moving_square((3, 0), 16, height=320).frames, 24.0)
    small = ("work.workers=1", "work.video_memory_mebibytes=3584")
    taught, plain = make_context(f"extract.teacher=file://{weights}", *small), make_context(*small)
    planned, without = plan(taught, "taught"), plan(plain, "plain")
    with pytest.raises(InvalidInput, match="the settings of the plan, its teacher included"):
        extract(plain, "taught", 0)
    extract(taught, "taught", 0)
    [(_, record)] = shard_records(taught.store, planned.recipe)
    digest = masks_provenance(with_local_teacher(taught.settings, tmp_path).extract)["teacher_sha256"]
    samples = snapshot_samples(taught, gather(taught, "taught"))

    assert planned.recipe != without.recipe
    assert record.made_by.inputs["teacher_sha256"] == digest
    assert record.made_by.settings["extract"]["teacher"] == f"file://{weights}"
    assert samples
    assert {sample.metadata["teacher_sha256"] for sample in samples} == {digest}
    assert not list(shard_records(plain.store, without.recipe))


def test_segment_takes_a_teacher(tmp_path: Path, weights: Path) -> None:
    """Every row of facts has its digest."""
    write_video(tmp_path / "a.mp4", moving_square((3, 0), 8).frames, 24.0)
    done = CliRunner().invoke(
        app, ["segment", str(tmp_path / "a.mp4"), "--out", str(tmp_path / "out"), "--teacher", str(weights)]
    )
    rows = [json.loads(line) for line in (tmp_path / "out" / "frames.jsonl").read_text().splitlines()]

    assert done.exit_code == 0, done.output
    assert len({row["teacher_sha256"] for row in rows}) == 1
    assert "teacher" in rows[0]["cpu_seconds"]
