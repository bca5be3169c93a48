"""Tables of results on a terminal of 40 columns."""

import io

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from watchmove.service.runner.narrow_tables import print_table


def printed(table: Table, width: int) -> str:
    """A table as it is printed on a console of a width."""
    out = io.StringIO()
    print_table(Console(file=out, width=width), table)
    return out.getvalue()


@pytest.fixture
def table() -> Table:
    """Seven columns of figures, as `watchmove results` prints them."""
    table = Table("initialisation", "frozen", "seeds", "mean", "std. dev.", "95 % interval", "preset", title="run [b]a")
    table.add_row("pretrained", "conv1-5", "3 × 3", "0.1628", "0.0100", "0.1500 to 0.1700", "quick")
    table.add_row(Text("[/x]"), "", "1", "0.2577", "–", "–", "paper, changed")
    return table


def test_where_it_fits_a_table_is_a_table(table: Table) -> None:
    """Each row is one line."""
    assert sum("0.1628" in line and "conv1-5" in line for line in printed(table, 120).splitlines()) == 1


def test_no_figure_is_cut_on_40_columns(table: Table) -> None:
    """Each cell has a line with its heading, and an empty cell none."""
    lines = printed(table, 40).splitlines()

    assert max(map(len, lines)) <= 40
    assert lines[1:8] == [
        "initialisation: pretrained",
        "  frozen: conv1-5",
        "  seeds: 3 × 3",
        "  mean: 0.1628",
        "  std. dev.: 0.0100",
        "  95 % interval: 0.1500 to 0.1700",
        "  preset: quick",
    ]
    assert lines[8:10] == ["initialisation: [/x]", "  seeds: 1"]
    assert "…" not in "".join(lines)
