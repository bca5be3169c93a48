"""The order of numbered files, without the package that decodes them."""

import re
from pathlib import PurePath

_DIGITS = re.compile(r"([0-9]+)")


def natural_order(path: PurePath) -> tuple[list[tuple[int, str]], str]:
    """A sort key that puts frame2 before frame10; the name breaks ties between names that differ in leading zeros."""
    parts = _DIGITS.split(path.name)
    # the split alternates text and digits, so that parts at the same place can be compared
    return [(int(part), "") if place % 2 else (0, part) for place, part in enumerate(parts)], path.name
