"""Tables for terminals of any width."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from watchmove.pipeline.files.text_lines import printable


def cell(text: str) -> str:
    """A text as a cell: without markup and control codes, as records and names of files may come from anyone."""
    return escape(printable(text))


def print_table(console: Console, table: Table) -> None:
    """Print a table whose cells are text; where its longest words do not fit, a line for each cell instead.

    rich would cut words and figures off.
    """
    # not `Measurement.get`, which takes no table for wider than the console
    if table.__rich_measure__(console, console.options).minimum <= console.width:
        console.print(table)
        return
    if table.title:
        console.print(_text(table.title), style="table.title")
    for row in zip(*(column.cells for column in table.columns), strict=True):
        for number, (column, content) in enumerate(zip(table.columns, row, strict=True)):
            heading, text = _text(column.header), _text(content)
            if text:
                line = Text("  " if number else "") + heading + Text(": " if heading else "") + text
                console.print(line, highlight=False)
    if table.caption:
        console.print(_text(table.caption), style="table.caption")


def _text(content: object) -> Text:
    return content if isinstance(content, Text) else Text.from_markup(str(content))
