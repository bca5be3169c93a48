"""Export: files that torchvision loads, the model card, and the refusal of changed weights."""

import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tests.service.conftest import MakeContext
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.digest import file_sha256
from watchmove.pipeline.networks.choice import Trunk, input_pixels_of, new_trunk, save_trunk
from watchmove.pipeline.pretraining.mask_network import MaskNetwork
from watchmove.pipeline.pretraining.mask_network_file import MASK_NETWORK_NAME, save_mask_network
from watchmove.service.records import layout
from watchmove.service.records.attribution import LicenceCount
from watchmove.service.records.datasets import DatasetRecord, GatherRecord
from watchmove.service.records.forgotten import LearntRecord
from watchmove.service.records.record import commit, need, origin, point
from watchmove.service.records.training import (
    BackboneRecord,
    CurveRow,
    Evaluation,
    EvaluationPointer,
    EvaluationRecord,
    PretrainPointer,
    backbone_id_of,
)
from watchmove.service.report.export import CARD, export
from watchmove.service.runner.runner import StepContext

SMALL = ("pretrain.trunk=alexnet-small", "evaluate.classification=false")
"""A network of a few MB; a test with the published one shows that its files are right."""

FEATURES = """
import sys
import torch
from safetensors.torch import save_file
images = torch.rand(2, 3, PIXELS, PIXELS, generator=torch.Generator().manual_seed(5))
with torch.no_grad():
    save_file({"features": net(images)}, "features.safetensors")
assert not {"pipeline", "service"} & {name.partition(".")[0] for name in sys.modules}
"""


def trained_run(context: StepContext, scratch: Path) -> tuple[Trunk, str]:
    """A run with a backbone of random weights, as if trained with batch normalisation; trunk and weights key."""
    made_by = origin(context.settings, {})
    dataset = DatasetRecord(
        made_by=made_by, dataset="seen", recipe="r", shards=(), kept_frames=7, kept_videos=3,
        licences={"CC BY": LicenceCount(videos=3, frames=7)}, attribution_key="", attribution_sha256="",
    )  # fmt: skip
    gathered = GatherRecord(
        made_by=made_by, dataset="seen", videos_listed=3, videos_removed=0, outcomes={}, frames={}, frames_seen=9,
        seconds_of_extraction=0.0, audit_keys=(),
    )  # fmt: skip
    commit(context.store, layout.dataset("seen"), dataset)
    commit(context.store, layout.run_record("run", "gather"), gathered)
    trunk = new_trunk(context.settings.pretrain).eval()
    with torch.no_grad():
        for norm in trunk.modules():
            if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
                norm.get_buffer("running_mean").uniform_(-0.2, 0.2)
                norm.get_buffer("running_var").uniform_(0.5, 2.0)
    path = scratch / "trained.safetensors"
    save_trunk(trunk, path, {})
    identity = backbone_id_of(context.settings, "seen")
    key = layout.backbone(identity, "backbone.safetensors")
    context.store.upload(key, path)
    whole = scratch / MASK_NETWORK_NAME
    save_mask_network(MaskNetwork(trunk, torch.Generator().manual_seed(0)), whole, {})
    whole_key = layout.backbone(identity, MASK_NETWORK_NAME)
    context.store.upload(whole_key, whole)
    record = BackboneRecord(
        made_by=made_by, backbone=identity, dataset="seen", weights_key=key,
        weights_sha256=file_sha256(path), images_per_second=1.0, seed=context.settings.pretrain.all_seeds()[0],
        mask_network_key=whole_key, mask_network_sha256=file_sha256(whole),
        curve=(CurveRow(iteration=4, loss=0.5, learning_rate=0.01, validation_iou=0.25),),
    )  # fmt: skip
    commit(context.store, layout.backbone(identity, "record.json"), record)
    return trunk, key


def end_pretraining(context: StepContext, backbones: dict[int, str]) -> None:
    """Write the run's record of its backbones by seed."""
    pointer = PretrainPointer(made_by=origin(context.settings, {}), backbones=backbones)
    point(context.store, layout.run_record("run", "pretrain"), pointer)


@pytest.mark.parametrize("kind", ["alexnet", "alexnet-small", "resnet18"])
def test_the_cards_own_lines_load_the_same_features_without_this_project(
    make_context: MakeContext, tmp_path: Path, kind: str
) -> None:
    """The card's Python code, run in an isolated process, gives the features of the trained trunk."""
    context = make_context(f"pretrain.trunk={kind}", "evaluate.classification=false")
    trunk, _ = trained_run(context, tmp_path)
    card = export(context.store, context.scratch, "run", tmp_path / "out").read_text()
    lines = re.search(r"```python\n(.*?)```", card, re.DOTALL)
    assert lines is not None
    pixels = input_pixels_of(kind)
    assert f"RGB images of {pixels}×{pixels} pixels" in card
    program = lines[1] + FEATURES.replace("PIXELS", str(pixels))
    subprocess.run([sys.executable, "-I", "-c", program], cwd=tmp_path / "out", check=True, timeout=120)
    there = load_file(tmp_path / "out" / "features.safetensors")["features"]
    with torch.no_grad():
        here = trunk(torch.rand(2, 3, pixels, pixels, generator=torch.Generator().manual_seed(5)))

    here = here.mean((2, 3)) if kind == "resnet18" else here
    assert float(here.std()) > 0.01
    # The grouped kernels are dense in the exported file, so sums have another order: 1.3e-5 was seen on a busy machine.
    torch.testing.assert_close(there, here, atol=1e-4, rtol=1e-4)


def test_the_card_says_what_it_was_made_of(make_context: MakeContext, tmp_path: Path) -> None:
    """The card lists snapshot, frames, licences, curve, settings, checksums and the missing evaluation."""
    context = make_context(*SMALL)
    trained_run(context, tmp_path)
    out = tmp_path / "out"
    card = export(context.store, context.scratch, "run", out).read_text()

    for name in ("backbone.safetensors", "backbone.torchvision.safetensors", MASK_NETWORK_NAME):
        assert file_sha256(out / name) in card
    assert file_sha256(out / MASK_NETWORK_NAME) == file_sha256(tmp_path / MASK_NETWORK_NAME)
    assert "](curve.png)" in card
    assert np.asarray(cv2.imread(str(out / "curve.png"))).shape == (480, 1050, 3)
    assert "Snapshot `seen`, extraction recipe `r`: 7 frames of 3 videos." in card
    assert "| CC BY | 3 | 7 |" in card
    assert "| 4 | 0.5000 | 0.01 | – | 0.250 |" in card
    assert f"| batch_size | {context.settings.pretrain.batch_size} |" in card
    assert "This backbone had not been evaluated when the card was written." in card


def test_the_card_says_that_works_were_forgotten_since(make_context: MakeContext, tmp_path: Path) -> None:
    """The snapshot has fewer frames then than the weights have learnt from."""
    context = make_context(*SMALL)
    trained_run(context, tmp_path)
    before = export(context.store, context.scratch, "run", tmp_path / "out").read_text()
    mark = LearntRecord(made_by=origin(context.settings, {}), receipts=("a",))
    commit(context.store, layout.learnt_backbone(backbone_id_of(context.settings, "seen")), mark)
    after = export(context.store, context.scratch, "run", tmp_path / "out").read_text()

    assert ["works that were forgotten" in card for card in (before, after)] == [False, True]


def test_the_progress_counts_files_and_ends_with_all(make_context: MakeContext, tmp_path: Path) -> None:
    """It does not say that all are written before the card is, which is the last."""
    context = make_context(*SMALL)
    trained_run(context, tmp_path)
    told: list[tuple[int, int, str, bool]] = []
    out = tmp_path / "out"

    def on_progress(done: int, total: int, what: str) -> None:
        told.append((done, total, what, (out / CARD).is_file()))

    export(context.store, context.scratch, "run", out, on_progress=on_progress)
    files = len(list(out.iterdir()))

    assert [done for done, *_ in told] == sorted({done for done, *_ in told})
    assert {total for _, total, *_ in told} == {files}
    assert [(done == files, written) for done, _, _, written in told] == [(False, False)] * (len(told) - 1) + [
        (True, True)
    ]
    assert [what for *_, what, _ in told[:-1]][-1] == "model card"


def test_of_several_seeds_one_is_exported_and_named(make_context: MakeContext, tmp_path: Path) -> None:
    """The option takes one of the run's seeds, the card has it among the settings, and another seed is refused."""
    context = make_context(*SMALL, "pretrain.seeds=[4]")
    trained_run(context, tmp_path)
    end_pretraining(context, {seed: backbone_id_of(context.settings, "seen", seed) for seed in (0, 4)})
    words = context.store, context.scratch, "run", tmp_path / "out"
    card = export(*words, seed=4).read_text()

    assert "| seed | 4 |" in card
    assert "| seeds |" not in card
    with pytest.raises(InvalidInput, match=r"seed 7 is not among those of pretraining \(0, 4\); name one of them"):
        export(*words, seed=7)
    with pytest.raises(InvalidInput, match="run `watchmove pretrain"):
        export(*words)


def test_the_backbone_is_the_one_that_the_run_records(make_context: MakeContext, tmp_path: Path) -> None:
    """An id that this version of the code would not give, as after an update, is found all the same."""
    context = make_context(*SMALL)
    trained_run(context, tmp_path)
    own = layout.backbone(backbone_id_of(context.settings, "seen"), "record.json")
    record = need(context.store, own, BackboneRecord, "pretrain")
    context.store.remove(own)
    commit(context.store, layout.backbone("earlier", "record.json"), record)
    end_pretraining(context, {0: "earlier"})

    assert export(context.store, context.scratch, "run", tmp_path / "out").is_file()


def test_the_card_has_the_evaluations_of_this_backbone(make_context: MakeContext, tmp_path: Path) -> None:
    """Each is listed once, in the order of the cells; those of other trunks are not."""
    context = make_context(*SMALL)
    trained_run(context, tmp_path)
    own = backbone_id_of(context.settings, "seen")
    made_by = origin(context.settings, {})
    cells = {0: ("random", 0.11), 2: (own, 0.22), 3: (own, 0.22), 10: (own, 0.33), 11: ("other", 0.44)}
    for number, (backbone, mean) in cells.items():
        key = layout.evaluation(str(mean), "record.json")
        record = EvaluationRecord(
            made_by=made_by, evaluation=Evaluation(initialisation="pretrained", freeze_through=0, seed=0),
            backbone=backbone, mean_ap_11_point=mean, mean_ap_area=None, per_class={}, loss=(), seconds=1.0,
        )  # fmt: skip
        commit(context.store, key, record)
        pointer = EvaluationPointer(made_by=made_by, key=key)
        point(context.store, layout.run_record("run", f"evaluate-{number}"), pointer)
    card = export(context.store, context.scratch, "run", tmp_path / "out").read_text()

    assert re.findall(r"^\| 0 \| 0 \| (0\.\d+) \| – \|$", card, re.MULTILINE) == ["0.2200", "0.3300"]


def test_a_card_never_stands_beside_weights_of_another_backbone(make_context: MakeContext, tmp_path: Path) -> None:
    """An export over another is interrupted after its weights; one that finds no sound weights removes nothing."""
    context = make_context(*SMALL)
    trained_run(context, tmp_path)
    card = export(context.store, context.scratch, "run", tmp_path / "out")

    def interrupted(done: int, total: int, what: str) -> None:  # noqa: ARG001 (the form of a report)
        if what == "mask network":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(context.store, context.scratch, "run", card.parent, on_progress=interrupted)
    left = {path.name for path in card.parent.iterdir()}
    export(context.store, context.scratch, "run", card.parent)
    complete = {path.name for path in card.parent.iterdir()}
    context.store.remove(layout.backbone(backbone_id_of(context.settings, "seen"), "backbone.safetensors"))
    with pytest.raises(InvalidInput, match=r"backbone\.safetensors"):
        export(context.store, context.scratch, "run", card.parent)

    assert left == {"backbone.safetensors", "backbone.torchvision.safetensors"}
    assert complete == left | {MASK_NETWORK_NAME, "curve.png", CARD}
    assert {path.name for path in card.parent.iterdir()} == complete


def test_weights_that_are_not_the_records_are_refused(make_context: MakeContext, tmp_path: Path) -> None:
    """If one byte of the stored file differs, nothing is written."""
    context = make_context(*SMALL)
    _, key = trained_run(context, tmp_path)
    stored = bytearray((tmp_path / "store" / key).read_bytes())
    stored[-1] ^= 1
    context.store.write(key, bytes(stored))

    with pytest.raises(InvalidInput, match=r"sha256 is .*, its record says"):
        export(context.store, context.scratch, "run", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("objective", "learnt"), [("rotation", "rotations"), ("colour", "colours")])
def test_the_card_of_another_objective_says_what_it_learnt(
    objective: str, learnt: str, make_context: MakeContext, tmp_path: Path
) -> None:
    """The card names the objective and its accuracy, and does not mention masks as targets."""
    context = make_context(*SMALL, f"pretrain.objective={objective}")
    trained_run(context, tmp_path)
    key = layout.backbone(backbone_id_of(context.settings, "seen"), "record.json")
    record = need(context.store, key, BackboneRecord, "pretrain")
    point = CurveRow(iteration=4, loss=0.5, learning_rate=0.01, validation_iou=None, validation_accuracy=0.75)
    turned = record.model_copy(update={"objective": objective, "curve": (point,)})
    context.store.write(key, turned.model_dump_json().encode())
    card = export(context.store, context.scratch, "run", tmp_path / "out").read_text()

    assert f"# Small AlexNet pretrained to predict {learnt} of frames\n" in card
    assert f"Objective `{objective}`." in card
    assert "held-out accuracy |\n" in card
    assert "| 4 | 0.5000 | 0.01 | – | 0.750 |\n" in card
    assert "Pathak" not in card
