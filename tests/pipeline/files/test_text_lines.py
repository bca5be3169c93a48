"""Characters that cannot be seen, and users and passwords in addresses, for terminals, logs and pages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchmove.pipeline.files.text_lines import from_visible, has_credentials, printable, visible, without_credentials


@pytest.mark.parametrize(
    ("text", "on_a_terminal", "on_a_page"),
    [
        ("clips/dog 1.mp4", "clips/dog 1.mp4", "clips/dog 1.mp4"),
        ("été 🎬 שלום", "été 🎬 שלום", "été 🎬 שלום"),
        ("a\x1b[2Jb\n", "a?[2Jb?", "a⟨U+001B⟩[2Jb⟨U+000A⟩"),
        ("\u202egpj.mp4", "?gpj.mp4", "⟨U+202E⟩gpj.mp4"),
        ("no\u00a0break\u200b\udc80", "no?break??", "no⟨U+00A0⟩break⟨U+200B⟩⟨U+DC80⟩"),
    ],
)
def test_what_cannot_be_seen_has_a_mark(text: str, on_a_terminal: str, on_a_page: str) -> None:
    """Letters of all scripts stay; controls, turned text, other blanks and lone surrogates do not."""
    assert printable(text) == on_a_terminal
    assert visible(text) == on_a_page
    assert from_visible(on_a_page) == text


@given(st.text(st.characters(exclude_categories=())))
def test_the_codes_of_a_page_give_the_text_back(text: str) -> None:
    """Of any text that has no such codes itself; another code is no character and stays."""
    assert from_visible(visible(text)) == text
    assert from_visible("⟨U+110000⟩⟨U+41⟩") == "⟨U+110000⟩⟨U+41⟩"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://KEY:WORD@b/x", "s3://…@b/x"),
        ("GET https://me@host:9/a?b=c@d: 403; http://a:b@c", "GET https://…@host:9/a?b=c@d: 403; http://…@c"),
        ("s3://b/me@home file://me@home/x me@home", "s3://b/me@home file://me@home/x me@home"),
    ],
)
def test_users_and_passwords_of_addresses_are_removed(text: str, expected: str) -> None:
    """What stands between the scheme and the host, and nothing else."""
    assert without_credentials(text) == expected
    assert has_credentials(text) == (text != expected)
