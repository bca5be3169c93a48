"""After a power cut no name belongs to an empty or partial file, no record outlives what it commits, and a step that
runs again gives the same results.

The calls of real steps are recorded, and a model of the disk gives the states in which a power cut may leave it.
"""

import gzip
import json
import random
import shutil
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from tests.service.conftest import context_of
from tests.service.faults.conftest import Undisturbed
from tests.service.faults.corpus import RUN, command, committed, extracted, planned, words
from tests.service.faults.power_cut import Call, Disk, compiled, recorded
from tests.service.steps.test_pretrain import SMALL, made_up_snapshot
from watchmove.pipeline.files.digest import file_sha256
from watchmove.service.planning.planned import listed_videos, planned_videos
from watchmove.service.records import layout
from watchmove.service.records.datasets import GatherRecord
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import commit, find, need
from watchmove.service.records.training import BackboneRecord
from watchmove.service.runner.runner import StepContext
from watchmove.service.settings.loading import LAPTOP, load_settings
from watchmove.service.steps.pretrain import pretrain
from watchmove.service.store.opening import open_store

KEPT = (0.0, 0.5, 1.0)
"""Probability that a change is on disk although it need not be: none is, some are, all are, but not their bytes."""
CUTS = 60
"""Calls after which the power is cut. Set by hand: enough to meet each kind of call on each kind of file."""
REPEATED = 1
"""Calls before the last after which a whole step runs again. Set by hand, for the time that it takes."""
TRAINING = (
    *SMALL,
    "pretrain.trunk=alexnet-small",
    "evaluate.classification=false",
    "pretrain.iterations=5",
    "pretrain.validate_every_iterations=5",
)
"""A checkpoint after each of five steps, into two slots."""


class Recording(NamedTuple):
    """A copy of a folder, the calls that then changed it, and the folder itself."""

    before: Path
    calls: list[Call]
    folder: Path


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorder."""
    if sys.platform != "linux" or not shutil.which("gcc"):
        pytest.skip("the recorder needs Linux and gcc")
    return compiled(tmp_path_factory.mktemp("recorder"))


@pytest.fixture(scope="session")
def extraction(library: Path, undisturbed: Undisturbed, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """A plan and an extraction into a store that is not there before."""
    folder, before, log = (tmp_path_factory.mktemp(name) for name in ("disk", "before", "log"))
    words_of_run = words(undisturbed.videos, f"file://{folder}/store")
    calls = recorded(library, folder, log / "plan", command("plan", words_of_run))
    line = command("extract", words_of_run, "--shard", "0")
    return Recording(before, calls + recorded(library, folder, log / "extract", line), folder)


@pytest.fixture(scope="session")
def training(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """A pretraining with checkpoints, from a snapshot that is on disk."""
    folder, log, scratch = (tmp_path_factory.mktemp(name) for name in ("disk", "log", "scratch"))
    context = _training_context(folder, scratch)
    made_up_snapshot(context, scratch)
    commit(
        context.store,
        layout.run_record(RUN, "gather"),
        need(context.store, layout.run_record("run", "gather"), GatherRecord, "gather"),
    )
    before = Path(shutil.copytree(folder, log / "before"))
    words_of_run = words("file:///none", f"file://{folder}/store", *TRAINING)
    return Recording(before, recorded(library, folder, log / "calls", command("pretrain", words_of_run)), folder)


def cuts(recording: Recording, target: Path, count: int, kept: Sequence[float] = KEPT) -> Iterator[int]:
    """Cut the power after some calls and after the last; while the caller looks at `target`, it holds what is left.

    Yields the number of calls before the cut.
    """
    chance = random.Random(7)
    last = len(recording.calls)
    chosen = {*chance.sample(range(1, last), count), last}
    disk = Disk(recording.before, recording.folder)
    for number, call in enumerate(recording.calls, start=1):
        disk.replay(call)
        for share in kept if number in chosen else ():
            disk.cut(target, share, chance)
            yield number
            shutil.rmtree(target)


def test_no_named_file_is_empty_or_partial_and_no_record_outlives_what_it_commits(
    extraction: Recording, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """Whatever a plan and an extraction have named can be read; a record has its data, and a plan has its lists."""
    words_of_run = words(undisturbed.videos, f"file://{tmp_path}/left/store")
    seen = set()
    for _ in cuts(extraction, tmp_path / "left", CUTS):
        read_all(tmp_path / "left")
        result = committed(words_of_run, tmp_path)
        _read_plan(words_of_run)
        seen.add(len(result.frames))

        assert result.frames.items() <= undisturbed.committed.frames.items()
        assert result.ended.items() <= undisturbed.committed.ended.items()
    assert len(seen) >= 3, "the cuts were not made between commits"


def test_a_step_that_has_ended_loses_nothing(extraction: Recording, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """Even of a store whose folders are all new, when only what must be on disk is there."""
    disk = Disk(extraction.before, extraction.folder)
    for call in extraction.calls:
        disk.replay(call)
    disk.cut(tmp_path / "left", 0.0, random.Random(7))

    assert committed(words(undisturbed.videos, f"file://{tmp_path}/left/store"), tmp_path) == undisturbed.committed


def test_an_extraction_after_a_power_cut_ends_with_the_same_frames(
    extraction: Recording, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """Planned and extracted again in what is left."""
    words_of_run = words(undisturbed.videos, f"file://{tmp_path}/left/store")
    for _ in cuts(extraction, tmp_path / "left", REPEATED, kept=(0.5,)):
        planned(words_of_run)
        assert extracted(words_of_run) == 0

        assert committed(words_of_run, tmp_path) == undisturbed.committed


def test_a_whole_checkpoint_is_left_once_there_was_one(training: Recording, tmp_path: Path) -> None:
    """The newest that is whole is not older than the newest that was stored when the power was cut."""
    left = tmp_path / "left"
    seen = set()
    for number in cuts(training, left, CUTS // 3):
        read_all(left)
        if not list(left.glob("store/backbones/*/record.json")):  # the training has not ended
            stored = _newest_stored(training.calls[:number])
            seen.add(stored)

            assert max(_whole(left), default=0) >= stored
    assert len(seen) >= 3, "the cuts were not made between checkpoints"


def test_a_training_after_a_power_cut_ends_with_the_same_weights(training: Recording, tmp_path: Path) -> None:
    """It continues from the newest whole checkpoint in what is left, or from the start if there is none."""
    (tmp_path / "scratch").mkdir()
    (undisturbed,) = pretrain(_training_context(training.folder, tmp_path / "scratch"), RUN)
    for number in cuts(training, tmp_path / "left", 4 * REPEATED, kept=(0.5,)):
        (tmp_path / str(number)).mkdir(exist_ok=True)
        (record,) = pretrain(_training_context(tmp_path / "left", tmp_path / str(number)), RUN)

        assert _weights(tmp_path / "left", record) == _weights(training.folder, undisturbed)


def test_what_is_written_together_is_on_disk_before_what_follows(library: Path, tmp_path: Path) -> None:
    """Of a record that is written after many objects: where it is left, they are all left whole."""
    folder, left = tmp_path / "disk", tmp_path / "left"
    for made in (folder, tmp_path / "before"):
        made.mkdir()
    script = "import sys; from pathlib import Path; from watchmove.service.store.folder import FileStore; "
    script += "store = FileStore(Path(sys.argv[1])); "
    script += "store.write_all((f'{n % 2}/{n}', b'whole') for n in range(20)); store.write('record', b'whole')"
    calls = recorded(library, folder, tmp_path / "log", [sys.executable, "-c", script, str(folder)])
    seen = set()
    for _ in cuts(Recording(tmp_path / "before", calls, folder), left, CUTS):
        objects = [path.read_bytes() for path in left.glob("?/[!.]*")]
        seen.add((left / "record").exists())

        assert set(objects) <= {b"whole"}
        assert len(objects) == 20 or not (left / "record").exists()
    assert seen == {False, True}
    assert sum(call.word == "syncfolder" for call in calls) < 10, "once for each folder"


def test_what_is_named_before_it_is_synchronised_is_found(library: Path, tmp_path: Path) -> None:
    """The model shows the faults that it is for: a file that is renamed first, and a folder that is left out."""
    folder = tmp_path / "disk"
    folder.mkdir()
    (tmp_path / "before").mkdir()
    script = "from pathlib import Path; import os, sys; os.chdir(sys.argv[1]); Path('new').mkdir(); "
    script += "Path('new/a').write_text('whole'); os.rename('new/a', 'new/b'); os.sync()"
    calls = recorded(library, folder, tmp_path / "log", [sys.executable, "-c", script, str(folder)])
    left = [
        path.read_text() if path.is_file() else None
        for _ in cuts(Recording(tmp_path / "before", calls, folder), tmp_path / "left", 2)
        for path in [tmp_path / "left" / "new" / "b"]
    ]

    assert {None, ""} <= set(left)


def read_all(folder: Path) -> None:
    """Read every named file; one that is still being written has a name that begins with a dot."""
    for path in folder.rglob("[!.]*"):
        if path.is_dir():
            continue
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        if ".json" in path.suffixes and content:
            # a record is one JSON value, and a list has one in each line
            assert [json.loads(line) for line in content.splitlines()] if b"}\n{" in content else json.loads(content)
        elif path.suffix == ".tar":
            with tarfile.open(path) as tar:
                assert all(member.isfile() for member in tar.getmembers())
        elif path.suffix == ".safetensors":
            with safe_open(path, "numpy") as weights:
                assert list(weights.keys())
        assert content or path.suffix == ".gz", path


def _read_plan(words_of_run: list[str]) -> None:
    """Read the lists that a plan's record commits, if there is one."""
    settings = load_settings(LAPTOP, words_of_run)
    store = open_store(settings.store)
    record = find(store, layout.run_record(RUN, "plan"), PlanRecord)
    if record is not None:
        listed = list(listed_videos(store, record))

        assert len(planned_videos(store, record, settings.plan).video) == len(listed) == record.videos_listed


def _training_context(folder: Path, scratch: Path) -> StepContext:
    return context_of(load_settings(LAPTOP, words("file:///none", f"file://{folder}/store", *TRAINING)), scratch)


def _weights(folder: Path, record: BackboneRecord) -> dict[str, bytes]:
    """The bytes of each tensor; two processes may write the same tensors in different orders."""
    return {name: values.tobytes() for name, values in load_file(folder / "store" / record.weights_key).items()}


def _newest_stored(calls: list[Call]) -> int:
    """The iteration of the newest checkpoint that was stored to the end, by its JSON file; 0 if there is none."""
    newest = named = 0
    content = b""
    for call in calls:
        if call.word == "sync":
            content = call.other.read_bytes()
        elif call.word == "rename" and call.other.parent.name == "checkpoints" and call.other.suffix == ".json":
            named = int(json.loads(content)["iteration"])
        elif call.word == "syncfolder":
            newest = named
    return newest


def _whole(folder: Path) -> Iterator[int]:
    """The iterations of the checkpoints that match their JSON files."""
    for path in folder.glob("store/backbones/*/checkpoints/*.json"):
        facts = json.loads(path.read_bytes())
        weights = path.with_name(facts["weights"])
        if weights.is_file() and file_sha256(weights) == facts["sha256"]:
            yield int(facts["iteration"])
