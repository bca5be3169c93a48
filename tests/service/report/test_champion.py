"""Promotion: which backbone becomes champion, and that of two runs at once only one is promoted."""

import dataclasses
from collections.abc import Sequence

import pytest
from prometheus_client import CollectorRegistry

from tests.service.conftest import MakeContext
from watchmove.service.records import layout
from watchmove.service.records.record import Written, commit, find, origin
from watchmove.service.records.training import PRETRAINED, RANDOM, BackboneRecord, Evaluation, EvaluationRecord
from watchmove.service.report import champion as module
from watchmove.service.report.champion import Champion, champions, is_better, promote, protocol_of
from watchmove.service.runner.runner import StepContext
from watchmove.service.store.store import Store
from watchmove.service.watching.exporter import RecordCollector


@pytest.fixture
def context(make_context: MakeContext) -> StepContext:
    """An empty store."""
    return make_context()


def backbone(context: StepContext, name: str) -> BackboneRecord:
    """A finished pretraining."""
    return BackboneRecord(
        made_by=origin(context.settings, {}),
        backbone=name,
        dataset="frames",
        weights_key=f"backbones/{name}/backbone.safetensors",
        weights_sha256="0" * 64,
        images_per_second=1.0,
        curve=(),
    )


def evaluated(
    context: StepContext, figures: Sequence[float | None], voc: str = "voc", **changed: object
) -> list[EvaluationRecord]:
    """Evaluations of a backbone, one for each figure; `changed` settings of the detector give another protocol."""
    detector = context.settings.evaluate.detector.model_copy(update=changed)
    evaluate = context.settings.evaluate.model_copy(update={"detector": detector})
    settings = context.settings.model_copy(update={"evaluate": evaluate})
    return [
        EvaluationRecord(
            made_by=origin(settings, {settings.voc: voc}),
            evaluation=Evaluation(initialisation=PRETRAINED, freeze_through=0, seed=seed),
            backbone="any",
            mean_ap_11_point=figure,
            mean_ap_area=figure,
            per_class={},
            loss=(),
            seconds=1.0,
        )
        for seed, figure in enumerate(figures)
    ]


def run(context: StepContext, name: str, *figures: float | None, **changed: object) -> tuple[Champion | None, str]:
    """Promote the backbone of a run; both have the given name."""
    records = evaluated(context, figures, **changed)  # type: ignore[arg-type]
    return promote(context.settings, context.store, name, [backbone(context, name)], records)


def with_random(context: StepContext, figures: Sequence[float], random: Sequence[float]) -> list[EvaluationRecord]:
    """Evaluations of a backbone and of random trunks."""
    others = [
        record.model_copy(update={"evaluation": record.evaluation.model_copy(update={"initialisation": RANDOM})})
        for record in evaluated(context, random)
    ]
    return [*evaluated(context, figures), *others]


def present(store: Store, protocol: str) -> Champion | None:
    """The champion in the pointer record."""
    return find(store, layout.champion(protocol, "champion"), Champion)


@pytest.mark.parametrize(
    ("before", "after", "better"),
    [
        ([], [0.1], True),
        ([0.40, 0.41, 0.42], [0.50, 0.51, 0.52], True),
        ([0.40, 0.41, 0.42], [0.415, 0.425, 0.435], False),
        ([0.40, 0.50, 0.60], [0.50, 0.60, 0.70], False),
        ([0.50, 0.51, 0.52], [0.40, 0.41, 0.42], False),
        ([0.4], [0.9], False),
        ([0.4, 0.41], [0.9], False),
        ([0.4, 0.4], [0.5, 0.5], True),
        ([0.4, 0.4], [0.4, 0.4], False),
    ],
)
def test_better_is_better_by_more_than_the_spread(before: list[float], after: list[float], better: bool) -> None:
    """A single seed gives no spread, so it never beats a champion."""
    assert is_better(before, after)[0] is better


def test_a_history_of_promotions(context: StepContext) -> None:
    """The first backbone is promoted, a worse one is not, and a better one is; repeating the first changes nothing."""
    run(context, "first", 0.40, 0.41, 0.42)
    first, _ = run(context, "weaker", 0.405, 0.41, 0.415)
    better, why = run(context, "better", 0.60, 0.61, 0.62)
    again, _ = run(context, "first", 0.40, 0.41, 0.42)
    assert first is not None
    assert better is not None
    assert again is not None
    history = champions(context.store, better.protocol)

    assert (first.run, better.run, better.before, again.run) == ("first", "better", "first", "better")
    assert "0.6100 over 3 seeds against 0.4100 over 3" in why
    assert [one.backbone for one in history] == ["first", "better"]
    assert present(context.store, better.protocol) == better


def test_a_backbone_that_is_not_above_random_is_not_promoted(context: StepContext) -> None:
    """Neither as the first, nor over a champion; the verdict has both figures."""
    records = with_random(context, [0.30, 0.31], [0.40, 0.41, 0.42])
    nobody, why = promote(context.settings, context.store, "below", [backbone(context, "below")], records)
    run(context, "first", 0.10, 0.11)
    first, _ = promote(context.settings, context.store, "below", [backbone(context, "below")], records)
    better = with_random(context, [0.50, 0.51], [0.40, 0.41, 0.42])
    crowned, said = promote(context.settings, context.store, "above", [backbone(context, "above")], better)

    assert nobody is None
    assert "not above random initial weights, which have 0.4100 over 3 seeds" in why
    assert first is not None
    assert first.run == "first"
    assert crowned is not None
    assert crowned.run == "above"
    assert "random initial weights have 0.4100 over 3 seeds" in said


def test_a_champion_with_one_seed_is_compared_once_it_has_more(context: StepContext) -> None:
    """Nobody replaces it before, and the verdict says whose seeds are missing; then its own figures are renewed."""
    run(context, "first", 0.40)
    _, blocked = run(context, "better", 0.60, 0.61, 0.62)
    again, renewed = run(context, "first", 0.40, 0.41, 0.42)
    _, same = run(context, "first", 0.40, 0.41, 0.42)
    better, _ = run(context, "better", 0.60, 0.61, 0.62)
    assert again is not None
    assert better is not None

    assert blocked.startswith("not promoted: ")
    assert "one seed gives no spread, so evaluate the champion with more seeds" in blocked
    assert renewed.startswith("promoted: the champion's own backbone, with mAP 0.4100 over 3 seeds")
    assert same == renewed
    assert (again.number, again.backbone, again.before) == (2, "first", "first")
    assert (better.number, better.backbone) == (3, "better")


def test_a_champion_that_was_never_compared_with_random_says_so(context: StepContext) -> None:
    """The figure alone does not say whether pretraining helps."""
    _, why = run(context, "alone", 0.5, 0.51)

    assert "not compared with random initial weights" in why


def test_another_protocol_has_a_champion_of_its_own(context: StepContext) -> None:
    """Other images, detectors or code versions give another protocol; another device or seed does not."""
    usual = protocol_of(evaluated(context, [0.5])[0])

    assert protocol_of(evaluated(context, [0.5], device="cuda", seed=7)[0]) == usual
    assert protocol_of(evaluated(context, [0.5], voc="other")[0]) != usual
    assert protocol_of(evaluated(context, [0.5], iterations=7)[0]) != usual
    small = context.settings.pretrain.model_copy(update={"trunk": "alexnet-small"})
    on_small = dataclasses.replace(context, settings=context.settings.model_copy(update={"pretrain": small}))
    assert protocol_of(evaluated(on_small, [0.5])[0]) != usual
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "EVALUATION_VERSION", 0)
        assert protocol_of(evaluated(context, [0.5])[0]) != usual
    run(context, "long", 0.9, 0.91)
    short, _ = run(context, "short", 0.1, 0.11, iterations=7)
    assert short is not None
    assert short.run == "short"


def test_without_a_figure_nobody_is_promoted(context: StepContext) -> None:
    """A test set without objects has no mAP."""
    champion, why = run(context, "empty", None)

    assert champion is None
    assert "no evaluation" in why
    assert list(context.store.list("champions/")) == []


def test_of_two_at_once_the_second_is_compared_with_the_first(
    context: StepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If another run creates the number first, this run is compared with that run's backbone."""

    def overtaken(store: Store, key: str, record: Champion) -> Written:
        monkeypatch.setattr(module, "commit", commit)
        run(context, "faster", 0.60, 0.61, 0.62)
        return commit(store, key, record)

    monkeypatch.setattr(module, "commit", overtaken)
    champion, _ = run(context, "slower", 0.50, 0.51, 0.52)
    assert champion is not None

    assert champion.run == "faster"
    assert [one.run for one in champions(context.store, champion.protocol)] == ["faster"]


def test_a_pointer_never_falls_behind_a_faster_run(context: StepContext) -> None:
    """If another run is promoted between this run's number and its pointer, the pointer names the later one."""
    write = context.store.write

    def overtaken(key: str, data: bytes) -> None:
        context.store.write = write  # type: ignore[method-assign]
        run(context, "second", 0.60, 0.61, 0.62)
        write(key, data)

    context.store.write = overtaken  # type: ignore[method-assign]
    first, _ = run(context, "first", 0.50, 0.51, 0.52)
    assert first is not None
    pointed = present(context.store, first.protocol)

    assert [one.run for one in champions(context.store, first.protocol)] == ["first", "second"]
    assert pointed is not None
    assert pointed.run == "second"


@pytest.mark.parametrize("pointer", [b"", b"{}"])
def test_a_pointer_left_behind_is_put_right(context: StepContext, pointer: bytes) -> None:
    """A missing or damaged pointer is written again by the next report."""
    first, _ = run(context, "first", 0.40, 0.41)
    assert first is not None
    context.store.write(layout.champion(first.protocol, "champion"), pointer)
    run(context, "first", 0.40, 0.41)

    assert present(context.store, first.protocol) == first


def test_the_exporter_reads_the_history(context: StepContext) -> None:
    """The exporter shows the newest champion of a protocol, independently of the pointer."""
    run(context, "first", 0.40, 0.41)
    better, _ = run(context, "better", 0.60, 0.61)
    assert better is not None
    collector = RecordCollector(context.store)
    collector.refresh()
    registry = CollectorRegistry()
    registry.register(collector)
    value = registry.get_sample_value("watchmove_champion_map", {"protocol": better.protocol})

    assert value == pytest.approx(0.605)


def test_seeds_of_pretraining_are_the_units_of_the_comparison(context: StepContext) -> None:
    """Two trunks with two detectors each count as two figures, their means, and both backbones are the champion's."""
    made = [
        record.model_copy(update={"evaluation": record.evaluation.model_copy(update={"pretraining_seed": seed})})
        for seed, figures in ((0, [0.3, 0.4]), (1, [0.5, 0.6]))
        for record in evaluated(context, figures)
    ]
    both = [backbone(context, "zero"), backbone(context, "one")]
    first, verdict = promote(context.settings, context.store, "r", both, made)
    assert first is not None
    assert first.figures == pytest.approx((0.35, 0.55))
    assert (first.backbone, first.backbones) == ("zero", ("zero", "one"))
    assert "detector seeds only" not in verdict
    assert "covers detector seeds only" in run(context, "single", 0.1, 0.2)[1]
    assert promote(context.settings, context.store, "r", both[::-1], made)[1] == verdict
    other = promote(context.settings, context.store, "other", both[::-1], made)[1]
    assert other == "this backbone has been promoted before, by run r"
