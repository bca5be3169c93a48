"""Which runs share one curve over frames, and the words for what differs in the others."""

import pytest

from watchmove.service.records.datasets import DatasetRecord, GatherRecord
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import Origin, origin
from watchmove.service.records.training import BackboneRecord, Evaluation, EvaluationRecord
from watchmove.service.report.comparison import difference, pretraining_facts
from watchmove.service.report.result import PretrainingFacts
from watchmove.service.settings.loading import LAPTOP, load_settings

VOC = "file://voc"


def facts(*words: str, frames: int = 100, recipe: str = "recipe", seeds: tuple[int, ...] = (0,)) -> PretrainingFacts:
    """The facts of a made-up run under the settings of a laptop with `words` such as `pretrain.iterations=7`."""
    made = origin(load_settings(LAPTOP, [f"voc={VOC}", *words]), {VOC: "images"})
    counts = {"shards": 1, "videos_listed": 1, "videos_new": 1, "files_ignored": 0}
    plan = PlanRecord.model_validate({"made_by": made, "recipe": recipe, "plan": "p", **counts})
    snapshot = dataset(made, recipe, frames)
    return pretraining_facts(plan, gathered(made), snapshot, [backbone(made)], evaluated(made, seeds))


def gathered(made: Origin) -> GatherRecord:
    """A record of gathering."""
    counts = {"videos_listed": 1, "videos_removed": 0, "frames_seen": 1, "seconds_of_extraction": 1.0}
    return GatherRecord.model_validate(
        {"made_by": made, "dataset": "d", "outcomes": {}, "frames": {}, "audit_keys": (), **counts}
    )


def dataset(made: Origin, recipe: str, frames: int) -> DatasetRecord:
    """A snapshot without shards."""
    return DatasetRecord(
        made_by=made,
        dataset="d",
        recipe=recipe,
        shards=(),
        kept_frames=frames,
        kept_videos=1,
        licences={},
        attribution_key="",
        attribution_sha256="",
    )


def backbone(made: Origin) -> BackboneRecord:
    """A finished pretraining."""
    names = {"backbone": "b", "dataset": "d", "weights_key": "", "weights_sha256": ""}
    return BackboneRecord.model_validate({"made_by": made, **names, "images_per_second": 1.0, "curve": ()})


def evaluated(made: Origin, seeds: tuple[int, ...]) -> list[EvaluationRecord]:
    """An evaluation for each seed of the detector."""
    cells = [Evaluation(initialisation="pretrained", freeze_through=0, seed=seed) for seed in seeds]
    common = {"made_by": made, "backbone": "b", "mean_ap_11_point": 0.5, "mean_ap_area": 0.5}
    return [
        EvaluationRecord.model_validate({**common, "evaluation": cell, "per_class": {}, "loss": (), "seconds": 1.0})
        for cell in cells
    ]


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("plan.sample_fraction=0.5",),
        ("plan.max_shard_videos=7", "work.workers=3"),
        ("pretrain.device=cuda",),
        ("pretrain.rotation_learning_rate=0.5", "pretrain.colour_learning_rate=0.5"),
    ],
    ids=["none", "sample", "shards", "machine", "rates-of-other-objectives"],
)
def test_runs_that_differ_in_frames_alone_compare(words: tuple[str, ...]) -> None:
    """A smaller sample, other shards and another machine change the number of frames or nothing."""
    assert difference(facts(), facts(*words, frames=50)) == ""


@pytest.mark.parametrize(
    ("word", "now", "before"),
    [
        ("pretrain.iterations=7", "7", str(load_settings(LAPTOP).pretrain.iterations)),
        ("pretrain.momentum=0.5", "0.5", "0.9"),
        ("pretrain.trunk=resnet18", "resnet18", "alexnet"),
        ("videos=file://other", "file://other", load_settings(LAPTOP).videos),
        ("plan.sample_seed=1", "1", "0"),
        ("gather.leave_out_near_duplicates=true", "True", "False"),
    ],
)
def test_a_setting_that_differs_is_named(word: str, now: str, before: str) -> None:
    """The line has the setting's name and both values."""
    assert difference(facts(), facts(word)) == f"{word.partition('=')[0]} is {now} instead of {before}"


def test_another_recipe_names_the_setting_of_extraction() -> None:
    """Another flow is named with the recipe; settings of extraction that leave the recipe as it is are not."""
    other = facts("extract.flow=variational", recipe="another")

    assert "extract.flow is variational instead of" in difference(facts(), other)
    assert "extraction recipe is another instead of recipe" in difference(facts(), other)
    assert difference(facts(), facts("extract.flow=variational")) == ""


def test_other_detector_seeds_and_settings_do_not_compare() -> None:
    """Seeds of the detector and its learning rate are named; of many settings only three are."""
    pretraining = "pretrain.iterations=7", "pretrain.batch_size=8", "pretrain.momentum=0"
    many = facts("evaluate.detector.learning_rate=0.1", *pretraining)

    assert difference(facts(), facts(seeds=(0, 1))) == "evaluate.seeds is [0, 1] instead of [0]"
    assert difference(facts(), many).endswith(", and 2 more")


def test_a_result_of_an_earlier_version_is_left_out() -> None:
    """It does not say what decides its figures, so it cannot be compared."""
    earlier = PretrainingFacts(backbone="b", frames=7)

    assert "earlier version; run `watchmove report`" in difference(facts(), earlier)


def test_the_facts_are_those_of_the_settings() -> None:
    """They have the number of frames and every setting that decides, and none of the machine."""
    made = facts()

    assert made.frames == 100
    assert made.decides["pretrain.iterations"] == str(load_settings(LAPTOP).pretrain.iterations)
    assert "pretrain.device" not in made.decides
