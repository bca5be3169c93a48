"""What two runs have in common and in what they differ, on small real runs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.service.conftest import MakeContext
from tests.service.records.snapshot_samples import snapshot_samples
from tests.service.report.run_comparison.conftest import HOSTILE, With
from tests.service.steps.test_extract import extracted
from watchmove.pipeline.dataset.shard import Sample
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.statistics.difference import difference_of
from watchmove.pipeline.video.encoder import write_video
from watchmove.pipeline.world.drawing import moving_square
from watchmove.service.records import layout
from watchmove.service.records.datasets import dataset_of
from watchmove.service.records.outcomes import ShardRecord
from watchmove.service.records.record import Record, commit, find, origin, point
from watchmove.service.records.stream import shard_records
from watchmove.service.records.training import (
    RANDOM,
    BackboneRecord,
    EvaluationPointer,
    EvaluationRecord,
    backbone_of_cell,
    evaluations_of,
)
from watchmove.service.report.champion import promote
from watchmove.service.report.run_comparison import common_frames as module
from watchmove.service.report.run_comparison.common_frames import mask_iou
from watchmove.service.report.run_comparison.compare import compare_runs
from watchmove.service.report.run_comparison.differences import RunComparison
from watchmove.service.runner.runner import StepContext
from watchmove.service.settings.settings import settings_hash
from watchmove.service.steps.gather import gather


def compared(context: StepContext, a: str, b: str) -> RunComparison:
    """The facts of a comparison."""
    return compare_runs(context.store, context.scratch, a, b)[0]


def counts_of(found: RunComparison, name: str) -> tuple[int | None, int | None, int | None]:
    """A count in A and in B, and the difference; `videos/` or `frames/` before its name is one of these by outcome."""
    kind, _, name = name.rpartition("/")
    [row] = [row for row in getattr(found, kind or "counts") if row.name == name]
    return row.a, row.b, row.difference


def test_settings_and_counts_that_differ(runs: With) -> None:
    """Only what differs is listed, the machine's settings apart, and counts are those of the records."""
    found = compared(runs(), "base", "strict")
    settings = {row.name: (row.a, row.b, row.of_machine) for row in found.settings}

    assert settings == {"extract.min_confidence": (0.65, 0.9999, False), "work.workers": (1, 2, True)}
    assert counts_of(found, "videos listed") == (3, 3, 0)
    assert counts_of(found, "frames sampled") == (16, 16, 0)
    assert counts_of(found, "videos/unreadable: not-a-video") == (1, 1, 0)
    kept, none, less = counts_of(found, "frames kept")
    assert kept
    assert (none, less) == (0, -kept)
    assert counts_of(found, "frames/rejected: low-confidence") == (0, 16, 16)
    assert counts_of(found, "frames in the snapshot") == (kept, None, None)
    assert found.sentences[0] == "Run strict (B) differs from run base (A) in 1 setting (extract.min_confidence)."
    assert found.sentences[1].startswith(f"B keeps 0 of 16 sampled frames (0.0 %), and A {kept} of 16 sampled frames")


def test_frames_with_other_verdicts_come_first(runs: With) -> None:
    """All frames that one run keeps are shown with both verdicts; equal masks that are stored have an IoU of 1."""
    context = runs()
    found, shown = compare_runs(context.store, context.scratch, "base", "strict")
    assert found.masks is not None
    frames = found.masks.frames_shown

    assert found.masks.frames == 16
    assert {(frame.reject_reason_a, frame.reject_reason_b) for frame in frames} == {(None, "low-confidence")}
    assert {sample.key for sample in snapshot_samples(context, dataset_of(context.store, "base"))} == {
        frame.key for frame in frames
    }
    assert {frame.video for frame in frames} == {"a.mp4", HOSTILE}
    assert {frame.iou for frame in frames if frame.stored_b} == {1.0}
    assert [frame.stored_b for frame in frames] == sorted((frame.stored_b for frame in frames), reverse=True)
    assert [frame.key for frame in shown] == [frame.key for frame in frames]
    assert found.masks.mean_iou is None


def test_masks_of_other_sizes_are_compared_at_the_size_of_the_first(runs: With) -> None:
    """The mean IoU is that of the snapshots' own masks, and the frames with the lowest come first."""
    context = runs()
    other = runs("extract.shorter_side_pixels=128", "extract.motion_gaps=[1]")
    extracted(other, "other")
    gather(other, "other")
    found = compared(context, "base", "other")
    masks = [_masks(snapshot_samples(context, dataset_of(context.store, run))) for run in ("base", "other")]
    expected = []
    for key in masks[0].keys() & masks[1].keys():
        first = masks[0][key]
        second = cv2.resize(masks[1][key], (first.shape[1], first.shape[0]))
        one, two = first >= 0.7 * 255, second >= 0.7 * 255
        expected.append((one & two).sum() / (one | two).sum())
    assert found.masks is not None
    both = [frame for frame in found.masks.frames_shown if frame.reject_reason_a is frame.reject_reason_b is None]
    shown = [frame.iou for frame in both if frame.iou is not None]

    assert found.masks.masks_compared == len(expected) >= 2
    assert found.masks.mean_iou == pytest.approx(np.mean(expected), abs=0.01)
    assert len(both) == len(shown) > 0
    assert shown == sorted(shown)
    assert shown[0] < 1


def _masks(samples: Sequence[Sample]) -> dict[str, np.ndarray]:
    decoded = {
        sample.key: cv2.imdecode(np.frombuffer(sample.mask_png, np.uint8), cv2.IMREAD_GRAYSCALE) for sample in samples
    }
    return {key: mask.astype(np.float32) for key, mask in decoded.items() if mask is not None}


def _sample(mask: np.ndarray) -> Sample:
    _, png = cv2.imencode(".png", mask)
    return Sample("k", b"", png.tobytes(), {})


def test_the_iou_of_drawn_masks() -> None:
    """Two columns against two, of which one is shared, have 1/3; half certain pixels are no part of a mask."""
    one, two = np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8)
    one[:, :2], two[:, 1:3], two[:, 3] = 255, 255, 128
    twice = cv2.resize(one, (8, 8), interpolation=cv2.INTER_NEAREST)

    assert mask_iou(_sample(one), _sample(two)) == pytest.approx(1 / 3)
    assert mask_iou(_sample(one), _sample(np.asarray(twice, np.uint8))) == pytest.approx(1)
    assert mask_iou(_sample(one), Sample("k", b"", b"no image", {})) is None


def test_a_control_has_the_same_frames_with_other_masks(runs: With) -> None:
    """The masks of a control are those of its snapshot, although its recipe is that of its source."""
    context = runs()
    found = compared(context, "base", "shuffled")
    assert found.masks is not None
    kept = counts_of(found, "frames kept")[0]

    assert found.a.recipe == found.b.recipe
    assert (found.masks.kept, found.masks.masks_compared, found.masks.kept_in_one) == (kept, kept, 0)
    assert found.masks.mean_iou is not None
    assert found.masks.mean_iou < 0.9
    assert "in where its masks are from (shuffled-masks instead of motion)" in found.sentences[0]


def test_runs_of_one_recipe_have_the_same_masks(runs: With) -> None:
    """No frame is read, and the sentences say why."""
    found = compared(runs(), "base", "again")

    assert (found.settings, found.masks) == ((), None)
    assert found.sentences[0].endswith("its masks are the same, as both runs have the same snapshot of frames.")
    assert found.sentences[0].startswith("Run again (B) has the same settings as run base (A)")
    assert found.sentences[1].startswith("Both runs keep ")


def test_parts_that_a_run_lacks_are_named(runs: With) -> None:
    """A run that is only planned can be compared."""
    found = compared(runs(), "base", "planned")

    assert found.a.missing == ("has not been evaluated",)
    assert [line[:10] for line in found.b.missing] == ["has no sna", "has no out", "has not be"]
    assert counts_of(found, "videos extracted") == (3, 0, -3)
    assert "B keeps no frame, as none is sampled" in found.sentences[1]
    assert found.sentences[1].endswith("no mAP is compared, as neither run has one.")


def test_of_many_frames_an_even_choice_is_compared(runs: With, monkeypatch: pytest.MonkeyPatch) -> None:
    """Videos, masks and shown frames are bounded, and the counts say how many there are."""
    for name, most in (("MOST_VIDEOS", 1), ("MOST_MASKS", 2), ("MOST_SHOWN", 3)):
        monkeypatch.setattr(module, name, most)
    found = compared(runs(), "base", "larger")
    assert found.masks is not None

    assert (found.masks.videos, found.masks.videos_compared, found.masks.frames) == (2, 1, 8)
    assert len(found.masks.frames_shown) == 3
    assert found.masks.masks_compared <= 2


@pytest.mark.usefixtures("s3_environment")
def test_records_without_verdicts_on_s3(make_context: MakeContext, tmp_path: Path) -> None:
    """Of records that older versions wrote, the kept frames are known and compared, from a bucket too."""
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "a.mp4", moving_square((3, 0), 12, height=160).frames, 24.0)
    words = ["store=s3://frames/compared", "extract.shorter_side_pixels=96"]
    extracted(make_context(*words), "one")
    extracted(make_context(*words, "extract.motion_gaps=[1]"), "two")
    context = make_context(*words)
    complete = compared(context, "one", "two")
    for recipe in (complete.a.recipe, complete.b.recipe):
        for key, part in list(shard_records(context.store, recipe)):
            rows = tuple(row.model_copy(update={"verdicts": (0, 0)}) for row in part.videos)
            old: ShardRecord = part.model_copy(update={"verdicts_key": "", "videos": rows})
            context.store.write(key, old.model_dump_json().encode())
    found = compared(context, "one", "two")
    assert complete.masks is not None
    assert found.masks is not None

    assert complete.masks.frames == 8
    assert (found.masks.frames, found.masks.kept) == (complete.masks.kept, complete.masks.kept)
    assert found.masks.mean_iou == complete.masks.mean_iou is not None


def test_a_run_is_not_compared_with_itself_or_with_none(runs: With) -> None:
    """One line says what would do."""
    with pytest.raises(InvalidInput, match="named twice; name two runs"):
        compared(runs(), "base", "base")
    with pytest.raises(InvalidInput, match=r"run nobody: .* has no record of it; name one of its runs \(again, base"):
        compared(runs(), "base", "nobody")


def evaluated(context: StepContext, run: str, figures: Mapping[str, Sequence[float]], voc: str = "images") -> None:
    """A run with the frames of `base`, and an evaluation for each seed of an initialisation; random ones are shared."""
    for step in ("plan", "gather"):
        context.store.write(layout.run_record(run, step), context.store.read(layout.run_record("base", step)) or b"")
    dataset = dataset_of(context.store, run).dataset
    made_by = origin(context.settings, {context.settings.voc: voc})
    for number, cell in enumerate(evaluations_of(context.settings)):
        figure = figures[cell.initialisation][cell.seed]
        record = EvaluationRecord(
            made_by=made_by,
            evaluation=cell,
            backbone=backbone_of_cell(context.store, context.settings, dataset, cell) or "",
            mean_ap_11_point=figure,
            mean_ap_area=figure,
            per_class={},
            loss=(),
            seconds=1.0,
        )
        owner = settings_hash(made_by.settings["evaluate"], voc) if cell.initialisation == RANDOM else run
        key = layout.evaluation(f"{owner}-{number}", "record.json")
        commit(context.store, key, record)
        point(context.store, layout.run_record(run, f"evaluate-{number}"), EvaluationPointer(made_by=made_by, key=key))


SEEDS = "evaluate.seeds=[0,1,2]"
LOW, HIGH, NEAR = (0.30, 0.31, 0.32), (0.40, 0.41, 0.42), (0.31, 0.30, 0.33)
AT_RANDOM = (0.10, 0.11, 0.12)


@pytest.mark.parametrize(
    ("run", "values", "verdict", "said"),
    [
        ("high", HIGH, "higher in B", "is 0.100 higher in B, which is more than the spread of the detector's seeds"),
        ("near", NEAR, "not shown", "0.003 higher in B, which is within the spread of the detector's seeds, without"),
    ],
)
def test_figures_have_a_difference_with_its_interval(
    runs: With, run: str, values: tuple[float, ...], verdict: str, said: str
) -> None:
    """The interval is Welch's over the seeds; random trunks that both runs share are not compared."""
    evaluated(runs(SEEDS, "pretrain.iterations=3"), "low", {"random": AT_RANDOM, "pretrained": LOW})
    evaluated(runs(SEEDS, "pretrain.iterations=4"), run, {"random": AT_RANDOM, "pretrained": values})
    found = compared(runs(), "low", run)
    random, pretrained = found.figures
    expected = difference_of(values, LOW)
    back = compared(runs(), run, "low").figures[1]

    assert (random.verdict, random.difference, random.low) == ("the same detectors", 0.0, None)
    assert (pretrained.difference, pretrained.low, pretrained.high) == (expected.mean, expected.low, expected.high)
    assert pretrained.verdict == verdict
    assert back.verdict == {"higher in B": "higher in A"}.get(verdict, verdict)
    assert said in found.sentences[1]
    assert [row.name for row in found.settings] == ["pretrain.iterations"]
    assert found.not_comparable == ""


def test_one_seed_shows_nothing(runs: With) -> None:
    """There is a difference without an interval, and the sentence says that it shows nothing."""
    for run, iterations, figure in (("single", 5, 0.2), ("other-single", 6, 0.6)):
        context = runs(f"pretrain.iterations={iterations}")
        evaluated(context, run, {"random": AT_RANDOM, "pretrained": (figure,)})
    found = compared(runs(), "single", "other-single")

    assert found.figures[1].difference == pytest.approx(0.4)
    assert (found.figures[1].low, found.figures[1].verdict) == (None, "not shown")
    assert found.sentences[1].endswith("is 0.400 higher in B, which shows nothing, as a single seed has no spread.")


def test_other_protocols_are_not_comparable(runs: With) -> None:
    """Figures stay side by side without a difference, and what differs is named."""
    evaluated(runs(SEEDS), "detector-a", {"random": AT_RANDOM, "pretrained": LOW})
    other = runs(SEEDS, "evaluate.detector.iterations=7")
    evaluated(other, "detector-b", {"random": AT_RANDOM, "pretrained": HIGH}, voc="other images")
    found = compared(runs(), "detector-a", "detector-b")

    assert found.not_comparable == (
        "the runs have different protocols of evaluation: evaluate.detector.iterations, the detection set"
    )
    assert all(row.a and row.b and row.difference is None and row.verdict == "" for row in found.figures)
    assert f"the mAPs are not comparable, as {found.not_comparable}" in found.sentences[1]


def test_incomplete_evaluations_are_said(runs: With) -> None:
    """A missing evaluation does not keep the rest of the run from being compared."""
    evaluated(runs(SEEDS, "pretrain.iterations=8"), "incomplete", {"random": AT_RANDOM, "pretrained": LOW})
    runs().store.remove(layout.run_record("incomplete", "evaluate-4"))
    found = compared(runs(), "incomplete", "strict")

    assert found.a.missing[0].startswith("has no complete evaluations: ")
    assert "evaluate-4.json" in found.a.missing[0]
    assert found.sentences[1].endswith("no mAP is compared, as neither run has one.")


def test_what_the_champions_say(runs: With) -> None:
    """A backbone is not judged before the report; then it is the champion, was one, or is none."""
    verdicts = {}
    for run, iterations, values in (("first", 11, LOW), ("second", 12, HIGH), ("third", 13, LOW)):
        context = runs(SEEDS, f"pretrain.iterations={iterations}", "evaluate.detector.iterations=9")
        evaluated(context, run, {"random": AT_RANDOM, "pretrained": values})
        verdicts[run] = compared(runs(), run, "base").a.champion
        pointers = [json.loads(context.store.read(f"runs/{run}/evaluate-{n}.json") or b"")["key"] for n in range(6)]
        records = [record for key in pointers if (record := find(context.store, key, EvaluationRecord))]
        backbone = BackboneRecord(
            made_by=origin(context.settings, {}),
            backbone=records[-1].backbone,
            dataset="d",
            weights_key="w",
            weights_sha256="0",
            images_per_second=1.0,
            curve=(),
        )
        promote(context.settings, context.store, run, [backbone], records)
        commit(context.store, layout.run_record(run, "result"), Record(made_by=origin(context.settings, {})))
    found = compared(runs(), "first", "second")

    assert set(verdicts.values()) == {"not judged, as the run has no report"}
    assert found.a.champion.startswith("promoted, replaced since by the backbone of run second: the first under")
    assert found.b.champion.startswith("promoted, still the champion: mAP 0.4100 over 3 seeds against 0.3100 over 3")
    assert (
        compared(runs(), "third", "base").a.champion == "not promoted, and the champion is the backbone of run second"
    )
