"""A run's own records state the settings that it was made with."""

import pytest

from tests.service.conftest import MakeContext
from watchmove.pipeline.errors import InvalidInput
from watchmove.service.records import layout
from watchmove.service.records.record import Record, commit, origin, point
from watchmove.service.records.run_settings import contradictions, last_origin, recorded_settings, settings_of_run
from watchmove.service.records.training import EvaluationPointer
from watchmove.service.runner.runner import StepContext


def end(context: StepContext, step: str, at: float, run: str = "run") -> None:
    """Write a record of a step with the context's settings, at a time."""
    made_by = origin(context.settings, {}).model_copy(update={"written_at_unix_seconds": at})
    commit(context.store, layout.run_record(run, step), Record(made_by=made_by))


def test_the_last_step_decides(make_context: MakeContext) -> None:
    """Of plan, gather, pretrain and evaluations it is the last one that the run has, whatever its time."""
    for number, (step, at) in enumerate((("plan", 9.0), ("gather", 2.0), ("pretrain", 3.0), ("evaluate-0", 1.0))):
        context = make_context(f"pretrain.iterations={number + 10}")
        end(context, step, at)

        assert settings_of_run(context.store, "run") == context.settings


def test_of_several_evaluations_the_one_written_last_decides(make_context: MakeContext) -> None:
    """Not the one of the highest number; and neither the report's result nor another run's record counts."""
    earlier, later = make_context("evaluate.seeds=[0,1]"), make_context("evaluate.seeds=[5]")
    end(earlier, "evaluate-1", 1.0)
    end(later, "evaluate-0", 2.0)
    end(earlier, "result", 3.0)
    end(earlier, "evaluate-0", 4.0, run="run-2")

    assert settings_of_run(later.store, "run").evaluate.seeds == (5,)


def test_a_repeated_step_with_other_settings_is_the_last_one(make_context: MakeContext) -> None:
    """The pointer to an equal evaluation is written again with changed settings, and not with the machine's."""
    first, second = make_context("evaluate.seeds=[0,1]"), make_context("evaluate.seeds=[0]")
    other_machine = make_context("evaluate.seeds=[0]", "work.workers=3")
    key = layout.run_record("run", "evaluate-0")
    seen = []
    for context in (first, second, second, other_machine):
        point(context.store, key, EvaluationPointer(made_by=origin(context.settings, {}), key="same"))
        seen.append(last_origin(context.store, "run"))

    assert [made_by.settings["evaluate"]["seeds"] for made_by in seen] == [[0, 1], [0], [0], [0]]
    assert seen[1] == seen[2] == seen[3]


def test_settings_of_other_versions_are_read(make_context: MakeContext) -> None:
    """What this version does not have is left out, and what the record lacks has its default."""
    context = make_context("evaluate.preset=quick", "pretrain.batch_size=3")
    made_by = origin(context.settings, {})
    tree = {**made_by.settings, "sound": {"volume": 11}, "evaluate": {**made_by.settings["evaluate"], "gone": 1}}
    tree["pretrain"] = {key: value for key, value in tree["pretrain"].items() if key != "seed"}
    found = recorded_settings(made_by.model_copy(update={"settings": tree}), "run")

    assert found == context.settings


def test_settings_that_are_no_longer_valid_are_named(make_context: MakeContext) -> None:
    """The line has the run, the setting and the version that can read the record."""
    made_by = origin(make_context().settings, {})
    wrong = {**made_by.settings, "gather": {"min_kept_frames": 0}}
    earlier = made_by.model_copy(update={"settings": wrong, "version": "0.0.1"})

    with pytest.raises(
        InvalidInput, match=r"run x: .* version 0\.0\.1 .*\(gather\.min_kept_frames: .*use that version"
    ):
        recorded_settings(earlier, "x")


def test_contradictions_are_those_of_what_was_given(make_context: MakeContext) -> None:
    """Equal values, the store, the machine and settings that the record does not have are none."""
    made_by = origin(make_context("pretrain.iterations=12").settings, {})
    given = {"pretrain.iterations": 24, "evaluate.seeds": [0], "store": "file:///else", "work.workers": 7, "future": 1}

    assert contradictions(made_by, given) == ("pretrain.iterations 24, recorded 12",)


def test_without_a_record_the_line_says_what_would_do(make_context: MakeContext) -> None:
    """An empty store, one with a few runs, and one with many."""
    context = make_context()
    with pytest.raises(InvalidInput, match=r"run absent: file://.* has no record of it; .* no runs, .* with --store"):
        last_origin(context.store, "absent")
    end(context, "plan", 1.0, run="absentee")
    with pytest.raises(InvalidInput, match=r"name one of its runs \(absentee\), or the store .* with --store"):
        last_origin(context.store, "absent")
    for number in range(7):
        end(context, "plan", 1.0, run=f"r{number}")
    with pytest.raises(InvalidInput, match=r"\(absentee, r0, r1, r2, r3 and 3 more\)"):
        last_origin(context.store, "absent")
