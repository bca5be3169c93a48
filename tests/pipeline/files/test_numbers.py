"""Numbers in text: the decimal notation is read, and everything that only Python takes for a number is refused."""

import math
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from watchmove.pipeline.files.numbers import number_if_text, number_of, whole_number_of

NOTATION = st.text("0123456789+-.eE_xXnaif １٣\t\n,", max_size=12)
"""Characters that occur in numbers of any notation, digits of other scripts among them."""


def python_reads(text: str) -> float | None:
    """What Python's own reader makes of a text, None where it refuses it."""
    try:
        return float(text)
    except ValueError:
        return None


@given(NOTATION)
@example("1_0")
@example("１０")
@example(" 1")
@example("1\n")
@example("0x10")
@example("1e999")
@example("-Infinity")
def test_what_is_read_is_what_python_reads_of_plain_text(text: str) -> None:
    """A text is read if and only if Python reads it and it is ASCII without underscores and white space."""
    plain = text.isascii() and not re.search(r"[_\s]", text)
    wanted = python_reads(text) if plain else None
    if wanted is None:
        with pytest.raises(ValueError, match="not a number"):
            number_of(text)
    else:
        assert repr(number_of(text)) == repr(wanted)


@given(NOTATION)
@example("1_0")
@example("１０")
@example("+5")
@example("9" * 101)
def test_whole_numbers_are_ascii_digits_after_a_sign(text: str) -> None:
    """Each character is one of the ten digits, but for a sign at the beginning."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if 0 < len(digits) <= 100 and set(digits) <= set("0123456789"):
        assert str(whole_number_of(text)) == str(int(text))
    else:
        with pytest.raises(ValueError, match="not a whole number"):
            whole_number_of(text)


def test_a_number_beyond_float64_is_infinite() -> None:
    """The reader leaves it to its caller to refuse what is not finite."""
    assert (number_of("1e999"), number_of("-1e999")) == (math.inf, -math.inf)


@pytest.mark.parametrize(("value", "wanted"), [("12", 12), ("1.5", 1.5), (3, 3), (None, None), ([1], [1])])
def test_text_becomes_a_number_and_other_values_stay(value: object, wanted: object) -> None:
    """JSON has numbers and text, CSV only text."""
    assert number_if_text(value) == wanted


@pytest.mark.parametrize("value", [True, "1_0", "", "many"])
def test_truth_values_and_other_text_are_no_numbers(value: object) -> None:
    """Python would take True for 1."""
    with pytest.raises(ValueError, match="not a number"):
        number_if_text(value)
