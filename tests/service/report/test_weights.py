"""The report says what was taken of given weights, and nothing where none were given."""

from types import SimpleNamespace

from watchmove.service.records.training import Evaluation, MappedWeights
from watchmove.service.steps.report import _environment


def row(initialisation: str, seed: int, weights: MappedWeights | None) -> SimpleNamespace:
    """What the template reads of an evaluation."""
    cell = Evaluation(initialisation=initialisation, freeze_through=0, seed=seed)
    return SimpleNamespace(record=SimpleNamespace(evaluation=cell, weights=weights))


def page(rows: list[SimpleNamespace]) -> str:
    """The section alone."""
    return _environment().get_template("weights.html.j2").render(rows=rows)


def test_each_file_has_a_line_with_its_tensors() -> None:
    """Once, however many seeds; names from the file are escaped."""
    mapped = MappedWeights(layout="own", taken=("conv1.weight",), fresh=("fc6.bias",), unused=("<b>",))
    html = page([row("random", 0, None), *(row("file:///w.safetensors", seed, mapped) for seed in (0, 1))])

    assert html.count("file:///w.safetensors") == 1
    assert "<td>conv1.weight</td>\n<td>fc6.bias</td><td>&lt;b&gt;</td>" in html


def test_without_given_weights_there_is_no_section() -> None:
    """Random and pretrained trunks need none."""
    assert page([row("random", 0, None)]).strip() == ""
