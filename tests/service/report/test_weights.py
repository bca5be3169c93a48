"""The report lists the tensors loaded from weights files, and has no such section without weights files."""

from types import SimpleNamespace

from watchmove.service.records.training import Evaluation, MappedWeights
from watchmove.service.report.run_page.page import page_environment


def row(initialisation: str, seed: int, weights: MappedWeights | None) -> SimpleNamespace:
    """The part of an evaluation that the template reads."""
    cell = Evaluation(initialisation=initialisation, freeze_through=0, seed=seed)
    return SimpleNamespace(record=SimpleNamespace(evaluation=cell, weights=weights))


def page(rows: list[SimpleNamespace]) -> str:
    """The rendered section."""
    return page_environment().get_template("weights.html.j2").render(rows=rows)


def test_each_file_has_a_line_with_its_tensors() -> None:
    """A weights file is listed once for all seeds, and names from the file are escaped."""
    mapped = MappedWeights(layout="own", taken=("conv1.weight",), fresh=("fc6.bias",), unused=("<b>",))
    html = page([row("random", 0, None), *(row("file:///w.safetensors", seed, mapped) for seed in (0, 1))])

    assert html.count("file:///w.safetensors") == 1
    assert "<td>conv1.weight</td>\n<td>fc6.bias</td><td>&lt;b&gt;</td>" in html


def test_without_given_weights_there_is_no_section() -> None:
    """Without weights files there is no section."""
    assert page([row("random", 0, None)]).strip() == ""
