"""Which videos are taken: licences, lengths, and samples that grow."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchmove.service.planning.sources.choice import in_sample, short_name, why_not
from watchmove.service.planning.sources.listed import ListedVideo
from watchmove.service.records.outcomes import Credit
from watchmove.service.settings.settings import LicenceWord, PlanSettings


@pytest.mark.parametrize(
    ("credit", "name"),
    [
        (Credit(licence="Attribution License"), "by"),
        (Credit(licence="Attribution-ShareAlike License"), "by-sa"),
        (Credit(licence="Attribution-NonCommercial-ShareAlike License"), "by-nc-sa"),
        (Credit(licence="Attribution-NonCommercial-NoDerivs License"), "by-nc-nd"),
        (Credit(licence="CC BY-NC 4.0"), "by-nc"),
        (Credit(licence="by-nd"), "by-nd"),
        (Credit(licence="CC0"), "cc0"),
        (Credit(licence_url="http://creativecommons.org/licenses/by-nc-nd/2.0/"), "by-nc-nd"),
        (Credit(licence_url="https://creativecommons.org/publicdomain/zero/1.0/"), "cc0"),
        (Credit(licence_url="https://creativecommons.org/publicdomain/mark/1.0/"), "publicdomain"),
        (Credit(licence="Attribution License", licence_url="https://example.org/terms"), ""),
        (Credit(licence_url="http://creativecommons.org/licenses/sampling+/1.0/"), ""),
        (Credit(licence="All rights reserved"), ""),
        (Credit(licence="Attribution-Something License"), ""),
        (Credit(), ""),
    ],
)
def test_licences_are_known_by_url_or_name(credit: Credit, name: str) -> None:
    """The URL goes before the name; what is not known is not guessed."""
    assert short_name(credit) == name


SIX = ("by", "by-sa", "by-nd", "by-nc", "by-nc-sa", "by-nc-nd")


@pytest.mark.parametrize(
    ("words", "taken"),
    [
        ((), SIX),
        (("commercial",), ("by", "by-sa", "by-nd")),
        (("derivatives",), ("by", "by-sa", "by-nc", "by-nc-sa")),
        (("commercial", "derivatives"), ("by", "by-sa")),
        (("by", "by-nc"), ("by", "by-nc")),
        (("commercial", "by", "by-nc"), ("by",)),
    ],
)
def test_uses_must_all_be_allowed_and_licences_be_among_those_named(
    words: tuple[LicenceWord, ...], taken: tuple[str, ...]
) -> None:
    """Both at once where both are named."""
    settings = PlanSettings(licences=words)
    reasons = {name: why_not(ListedVideo("a.mp4", credit=Credit(licence=name)), settings) for name in SIX}

    assert tuple(name for name, reason in reasons.items() if not reason) == taken
    assert {reason for reason in reasons.values() if reason} <= {"licence"}
    assert why_not(ListedVideo("a.mp4"), settings) == ("licence-unknown" if words else "")


@pytest.mark.parametrize(("seconds", "reason"), [(0, ""), (1.9, "too-short"), (2, ""), (60, ""), (60.1, "too-long")])
def test_lengths_are_held_to_where_they_are_known(seconds: float, reason: str) -> None:
    """Zero is not known."""
    settings = PlanSettings(min_video_seconds=2, max_video_seconds=60)

    assert why_not(ListedVideo("a.mp4", duration_seconds=seconds), settings) == reason


@given(
    key=st.text(min_size=1, max_size=40),
    fractions=st.tuples(st.floats(1e-6, 1), st.floats(1e-6, 1)).map(sorted),
    seed=st.integers(0, 2**32),
)
def test_a_smaller_sample_is_in_a_larger(key: str, fractions: list[float], seed: int) -> None:
    """For any key and seed; all of it is taken by the whole."""
    smaller, larger = (in_sample(key, fraction, seed) for fraction in fractions)

    assert larger or not smaller
    assert in_sample(key, 1.0, seed)


def test_a_sample_has_its_size_and_its_seed() -> None:
    """A tenth of 20,000 keys is 2,000, give or take four deviations; another seed takes others."""
    one, other = ({n for n in range(20_000) if in_sample(f"{n}.mp4", 0.1, seed)} for seed in (0, 1))

    assert abs(len(one) - 2000) < 4 * (20_000 * 0.1 * 0.9) ** 0.5
    assert abs(len(one & other) - 200) < 4 * (20_000 * 0.01 * 0.99) ** 0.5
