"""README and docs: short, linked, in plain words, and complete where they list what the code defines."""

import re
from pathlib import Path

import pytest
import yaml

from tests.docs.pages import DOCS, PAGES, ROOT, anchors, links, page_name
from watchmove.pipeline.errors import UNREADABLE_REASONS
from watchmove.pipeline.extraction.conditions import CONDITIONS
from watchmove.pipeline.extraction.pruning import REJECT_REASONS
from watchmove.pipeline.extraction.sampled_video import ENDED_EARLY
from watchmove.service.cli.reference import cli_reference
from watchmove.service.explanation.unlisted import MALFORMED, NEW, NO_SUFFIX, REMOVED
from watchmove.service.extraction.child import TIMED_OUT_REASONS
from watchmove.service.planning.sources.choice import LEFT_OUT
from watchmove.service.planning.sources.folder import HIDDEN
from watchmove.service.planning.sources.video_list import ListRow
from watchmove.service.records import layout
from watchmove.service.records.forgotten import FORGOTTEN
from watchmove.service.records.outcomes import MISSING_REASONS, WORKER_REASONS, Outcome
from watchmove.service.runner import exit_codes, metrics
from watchmove.service.settings.evaluate import EvaluateSettings
from watchmove.service.settings.reference import reference_table
from watchmove.service.steps.import_coco import UNLISTED

MOST_README_LINES = 150
ALL_PAGES = (*PAGES, *(ROOT / f"{name}.md" for name in ("CONTRIBUTING", "SECURITY", "CHANGELOG")))
"""The pages with those that have no commands to run."""
FORBIDDEN = re.compile(
    r"\b(goes? on where it was|goes on with|takes? up again|second watch|teach(es)? nothing|teach(es)? less|is dealt"
    r"|are dealt|dealt into|told to|learnt from nothing else|speaks? for|rests? on|joins? motion|by itself tells"
    r"|what moves|common likeness|looks are (learnt|taught)|people's masks|anew|whose votes|motion's votes"
    r"|the surest|is picture by picture|hear nothing)\b",
    re.IGNORECASE,
)
"""Metaphors and riddles that a technical reader would have to decode."""


def test_the_readme_is_short() -> None:
    """A stranger reads it in a few minutes."""
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= MOST_README_LINES


@pytest.mark.parametrize("page", ALL_PAGES, ids=page_name)
def test_links_lead_somewhere(page: Path) -> None:
    """Each relative link names a file of the repository and, after `#`, one of its headings."""
    for link in links(page):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_named_tests_exist(page: Path) -> None:
    """A test that a page names is in the file before its name, or, with `::` alone, in the file that was named last."""
    text, path = page.read_text(encoding="utf-8"), ""
    for file, name in re.findall(r"`(tests/[\w/]+\.py)?(?:::(test_\w+))?`", text):
        path = file or path
        assert (
            f"def {name}(" in (ROOT / path).read_text(encoding="utf-8") if name else not file or (ROOT / file).exists()
        )
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", text):
        assert f"def {name}(" in code


def test_every_page_can_be_reached() -> None:
    """The index links to each page of the docs."""
    index = DOCS / "index.md"
    reached = {(DOCS / link.partition("#")[0]).resolve() for link in links(index)}

    assert {page for page in PAGES if DOCS in page.parents} - {index} <= reached


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_pages_have_no_riddles(page: Path) -> None:
    """No page uses a metaphor of the list."""
    assert not [found[0] for found in FORBIDDEN.finditer(page.read_text(encoding="utf-8"))]


def test_help_has_no_riddles() -> None:
    """Neither does the help of any command."""
    assert not [found[0] for found in FORBIDDEN.finditer(cli_reference())]


def test_the_settings_page_is_the_generated_table() -> None:
    """The page ends with the table that the program prints."""
    page = (DOCS / "reference" / "settings.md").read_text(encoding="utf-8")

    assert page.endswith(f"\n{reference_table()}\n"), (
        "run `watchmove settings --reference` and replace the page's table"
    )


def test_the_published_schedule_is_valid_settings() -> None:
    """The page's block of settings for multi-scale training is accepted, and tests at one scale."""
    page = (DOCS / "explanation" / "evaluation.md").read_text(encoding="utf-8")
    block = page.split("```yaml\n")[1].split("```")[0]
    detector = EvaluateSettings.model_validate(yaml.safe_load(block)["evaluate"]).detector

    assert len(detector.at_training_scales()) == 5
    assert detector.at_testing_scales() == (detector,)


def test_every_metric_is_listed() -> None:
    """The page has a row for each declared metric, with its labels."""
    page = (DOCS / "reference" / "metrics.md").read_text(encoding="utf-8")
    declared = [value for value in vars(metrics).values() if isinstance(value, metrics.Declared)]

    assert declared
    for metric in declared:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        assert f"| `{metric.name}` | {labels} |" in page


def test_exit_codes_and_outcomes_are_listed() -> None:
    """The page has each exit code, outcome, reason and condition of the code, and reasons for frames in their order."""
    page = (DOCS / "reference" / "exit-codes.md").read_text(encoding="utf-8")
    endings = [value for value in vars(exit_codes).values() if isinstance(value, exit_codes.Ending)]
    discarded = page.partition("## Reasons for discarding frames")[2].partition("## ")[0]

    assert {int(code) for code in re.findall(r"\| (\d+) \|", page)} == {ending.exit_code for ending in endings}
    assert all(f"| `{ending.prefix}` |" in page for ending in endings if ending.exit_code)
    assert tuple(re.findall(r"^\| `([a-z-]+)`", discarded, re.MULTILINE)) == REJECT_REASONS
    for word in (*Outcome, *MISSING_REASONS, *WORKER_REASONS, *UNREADABLE_REASONS, *CONDITIONS):
        assert f"| `{word}` |" in page
    assert _first_column(page, "### Why a video is not read to its end") == set(ENDED_EARLY)
    assert _first_column(page, "### Answers of `watchmove why`") == {REMOVED, MALFORMED, NEW, NO_SUFFIX}
    assert _first_column(page, "## Reasons for leaving out listed videos") == {
        "listed-twice", *LEFT_OUT, HIDDEN, FORGOTTEN, UNLISTED
    }  # fmt: skip


def test_reasons_are_below_the_outcome_that_they_have() -> None:
    """A limit of time makes a video time out; all other reasons of the decoder and of the worker make it unreadable."""
    page = (DOCS / "reference" / "exit-codes.md").read_text(encoding="utf-8")

    assert _first_column(page, "### Reasons for `timed-out`") == set(TIMED_OUT_REASONS)
    assert _first_column(page, "### Reasons for `missing`") == set(MISSING_REASONS)
    assert _first_column(page, "### Reasons for `unreadable`") == {
        *WORKER_REASONS, *UNREADABLE_REASONS
    } - set(TIMED_OUT_REASONS)  # fmt: skip


def _first_column(page: str, heading: str) -> set[str]:
    """The words in code of the first column of the table below a heading."""
    section = re.split(r"^#+ ", page.partition(f"{heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    return {word for cell in re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE) for word in cell.split("`")[1::2]}


def test_every_event_and_step_is_listed() -> None:
    """The page of logs has each event that the code logs by a word, that of traces each that becomes a span; both have
    the steps.
    """
    logs, traces = ((DOCS / "reference" / f"{name}.md").read_text(encoding="utf-8") for name in ("logs", "traces"))
    code = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "watchmove").rglob("*.py")))
    events = set(re.findall(r"\b(?:log_event|log_facts)\(\s*\"(\w+)\"|\bwith_event\([\w.]+, \"(\w+)\"", code))
    steps = re.findall(r"^@log_step\n(?:@\w+\n)*def (\w+)\(", code, re.MULTILINE)

    words = {first or second for first, second in events}
    assert {"video", "part", "checkpoint"} < words
    assert all(f"| `{word}` |" in logs and f"| `{word}` |" in traces for word in words)
    assert {"plan", "teach"} < set(steps)
    assert all(f"`{step}`" in logs and f"`{step}`" in traces for step in steps)


def test_every_record_is_listed() -> None:
    """The page has each class of records; the exporter's `RunFigures` are a part of a `RunResult`."""
    page = (DOCS / "reference" / "records.md").read_text(encoding="utf-8")
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "watchmove" / "service").rglob("*.py"))
    kinds = set(re.findall(r"^class (\w+)\((?:Record|PlanRecord)\)", code, re.MULTILINE)) - {"RunFigures"}

    assert {"PlanRecord", "RetryRecord"} < kinds
    assert _first_column(page, "## Records") == kinds


def test_the_columns_of_a_list_are_listed() -> None:
    """The page has each column that a list of videos may have."""
    page = (DOCS / "how-to" / "own-videos.md").read_text(encoding="utf-8")

    assert _first_column(page, "### Columns of a list") == set(ListRow.model_fields)


def test_the_layout_is_listed() -> None:
    """The page has each key that the module of the layout names."""
    page = (DOCS / "reference" / "records.md").read_text(encoding="utf-8")
    keys = re.findall(r"^([a-z]+/\S+)  ", str(layout.__doc__), re.MULTILINE)

    assert len(keys) > 15
    assert all(f"| `{key}` |" in page for key in keys)
