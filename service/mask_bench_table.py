"""The figures of `watchmove bench masks` as a table."""

import json
from typing import Any

from rich.console import Console
from rich.table import Table


def print_mask_scores(facts: dict[str, Any], console: Console, *, as_json: bool) -> None:
    """Print what `MaskScores.facts` holds, as tables or as JSON."""
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    console.print(_summary(facts))
    console.print(_pairs("processor's time per frame", "ms", facts["cpu_milliseconds_by_stage"], "{:.1f}"))
    console.print(_pairs("J of the frames whose masks are surest", "J", facts["J_by_confidence"], "{:.3f}"))
    console.print(_pairs("frames dropped", "frames", facts["reject_reasons"], "{}"))
    console.print(_pairs("sequences", "J", facts["J_by_sequence"], "{:.3f}"))


def _summary(facts: dict[str, Any]) -> Table:
    table = Table("", "value", title=f"{facts['frames']} frames of {facts['sequences']} sequences")
    for name, value in (
        ("J", f"{facts['J']:.3f}"),
        ("J at the best threshold of each sequence", f"{facts['J_best_threshold_of_each_sequence']:.3f}"),
        ("frames kept by default", f"{facts['kept_share']:.1%}"),
        ("J of the kept frames, mean over frames", f"{facts['kept_J']:.3f}"),
        ("kept frames with J of 0.5 or more", f"{facts['kept_at_least_half_right']:.1%}"),
        ("processor's time per frame", f"{facts['cpu_milliseconds']:.1f} ms"),
        ('one DIS flow, preset "medium"', f"{facts['dis_medium_milliseconds']:.1f} ms"),
        ("ratio", f"{facts['ratio_to_dis_medium']:.2f}"),
    ):
        table.add_row(name, value)
    return table


def _pairs(title: str, unit: str, values: dict[str, Any], form: str) -> Table:
    table = Table("", unit, title=title)
    for name, value in values.items():
        table.add_row(name, form.format(value))
    return table
