"""`make gpu-check`, run on the CPU: all of its rows but NCCL's and those of decoding, and what makes it fail."""

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models.optical_flow import raft_small

from tests.bench.gpu_check.__main__ import ROOT, main, rows
from tests.bench.gpu_check.rows import COLUMNS, Figure, Row, Verdict, judged, markdown, skipped
from tests.bench.gpu_check.setup import SMALL, Setup
from tests.bench.gpu_check.several_ranks import rank_rows
from tests.bench.gpu_check.trainings import Variant, pretraining_row
from tests.pipeline.video.gpu_stand_in import Fault, GpuStandIn
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.masks.choice import shot_segmenter
from watchmove.pipeline.masks.device import segmentation
from watchmove.pipeline.masks.device.edges import calibrate

NCCL, COMPILED = "nccl", "pretraining, compiled"
DECODING = ("decoding, all frames", "decoding, key frames of four readers")
EXPECTED = [
    "flow variational",
    "flow raft",
    "masks, flow dis",
    "masks, flow dis, device process",
    "masks, flow variational",
    *DECODING,
    "pretraining, fp32",
    "pretraining, fp32, not channels last",
    "pretraining, fp32, crops on the device",
    "pretraining, bf16",
    COMPILED,
    "pretraining, bf16, compiled, crops on the device",
    "detector, training",
    "detector, testing",
    NCCL,
    "gloo, 2 ranks on the CPU",
]


@pytest.fixture
def raft_weights(tmp_path: Path) -> Path:
    """Random weights of RAFT."""
    torch.manual_seed(0)
    path = tmp_path / "raft.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in raft_small(weights=None).state_dict().items()}, path)
    return path


@pytest.mark.long
@pytest.mark.timeout(900)
def test_all_of_it_runs_without_a_gpu(raft_weights: Path) -> None:
    """The command prints a table in which every row passes, except those that say which hardware they need."""
    words = [sys.executable, "-m", "tests.bench.gpu_check", "--device", "cpu", "--raft-weights", str(raft_weights)]
    # time to spare, because a busy machine takes several times as long as an idle one
    no_gpu = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(
        [*words, "--minutes", "14"], cwd=ROOT, capture_output=True, text=True, check=False, env=no_gpu
    )
    head, _, *lines = done.stdout.splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    verdicts = {cells[0]: cells[-1] for cells in table[2:]}

    assert done.returncode == 0, done.stderr
    assert re.match(rf"no GPU: .*; PyTorch {re.escape(torch.__version__)}; .* UTC; commit \w+", head)
    assert table[0] == list(COLUMNS)
    assert list(verdicts) == EXPECTED
    assert verdicts.pop(NCCL) == "skipped: it needs two GPUs, and none is here; it was not seen"
    assert all(verdicts.pop(what).startswith("skipped: not available: ") for what in DECODING)
    # without a C compiler, what is compiled is skipped
    others = {verdict for what, verdict in verdicts.items() if "compiled" not in what}
    assert others == {"pass"}
    assert all(cells[1] and (cells[2] or "ranks" in cells[0]) for cells in table[2:] if cells[-1] == "pass")


def test_masks_that_differ_fail(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 70, the broken tolerance in the table, and the row on standard error."""

    def faded(masks: Tensor) -> Tensor:
        return calibrate(masks) / 2

    monkeypatch.setattr(segmentation, "calibrate", faded)
    shot_segmenter.cache_clear()
    # a broken row does not end the others: the process that holds the device has not been changed
    code = main(["--device", "cpu", "--only", "masks, flow"])
    printed = capsys.readouterr()

    assert code == 70
    assert re.search(r"\| masks, flow dis, device process \| .* \| pass \|", printed.out)
    assert re.search(r"\| masks, flow dis \| mean difference \S+ > 0\.005; .* \| fail \|", printed.out)
    assert (
        printed.err.splitlines()[-1] == "gpu-check: failed: masks, flow dis; masks, flow variational; see the verdicts"
    )


@pytest.mark.parametrize(("fault", "verdict"), [("", Verdict.PASS), ("grey", Verdict.FAIL)])
def test_decoding_by_a_gpu_is_compared_with_the_cpu(
    fault: Fault, verdict: Verdict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the CPU in the place of a GPU, frames are equal, and those without colour are not."""
    (tmp_path / "bin").mkdir()
    program = GpuStandIn(tmp_path / "bin", monkeypatch, fault)
    found = list(rows(Setup("cpu", SMALL, tmp_path), "decoding", math.inf))

    assert [row.what for row in found] == list(DECODING)
    assert {row.verdict for row in found} == {verdict}
    assert all(row.speeds for row in found)
    assert program.starts == 1 + 4


def test_a_training_that_learns_otherwise_fails(tmp_path: Path) -> None:
    """With another learning rate, the change of the weights tells it, where the loss of a few steps does not."""
    row = pretraining_row(Setup("cpu", SMALL, tmp_path), "other", Variant({"learning_rate": 0.02}, 0.1))

    assert row.verdict is Verdict.FAIL
    assert [figure.holds for figure in row.figures] == [True, False, True]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_the_default_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """One line, with what would do, and exit code 65."""
    assert main([]) == 65
    assert "give --device cpu" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.skipif(torch.cuda.device_count() > 1, reason="this machine has several GPUs")
def test_gpus_that_cannot_exchange_anything_fail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What `watchmove doctor` finds is the verdict, with its remedy, and no training begins that would hang."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    what, nccl = next(rank_rows(Setup("cuda", SMALL, tmp_path)))
    row = nccl()

    assert what == "nccl, 2 ranks"
    assert row.verdict is Verdict.FAIL
    assert "is not among" in row.reason
    assert "NCCL_P2P_DISABLE" in row.reason
    assert list(tmp_path.iterdir()) == []


def test_nothing_begins_after_the_time_has_passed(tmp_path: Path) -> None:
    """All rows are there, and say why they have no figures."""
    found = list(rows(Setup("cpu", SMALL, tmp_path), "", 0))

    assert [row.what for row in found] == EXPECTED
    assert {row.verdict for row in found} == {Verdict.SKIPPED}
    assert found[0].reason == "0.0 minutes have passed"


@pytest.mark.parametrize(
    ("value", "most", "holds"), [(1, 1, True), (1.1, 1, False), (math.nan, 1, False), (9, None, True)]
)
def test_a_figure_holds_up_to_its_tolerance(value: float, most: float | None, holds: bool) -> None:
    """What is not a number never holds, and is no pass without a tolerance either."""
    assert Figure("x", value, most).holds == holds
    assert not Figure("x", math.nan).holds
    assert (Row("x", (Figure("x", value, most),)).verdict is Verdict.PASS) == holds


def test_an_error_is_one_row_of_the_table() -> None:
    """Other rows follow it; the columns stay in their places whatever the message holds."""

    def fails() -> Row:
        raise InvalidInput("a | b\nc")

    table = markdown([judged("broken", fails), skipped("other", "why")]).splitlines()

    assert table[2] == "| broken |  |  |  |  |  | fail: InvalidInput: a / b c |"
    assert table[3] == "| other |  |  |  |  |  | skipped: why |"
