"""The image is made from pinned things, holds no secret, and does not run as root."""

import re

from tests.manifests.documents import ROOT

LINES = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()


def _instructions(word: str) -> list[str]:
    return [line.removeprefix(f"{word} ") for line in LINES if line.startswith(f"{word} ")]


def test_every_package_comes_by_its_hash() -> None:
    """Each pip either checks hashes or may not fetch anything."""
    pips = [line for line in _instructions("RUN") if "pip " in line]

    assert len(pips) >= 3
    assert all("--require-hashes" in line or "--no-index" in line for line in pips)


def test_the_build_tools_hashes_are_of_the_version_that_the_project_asks_for() -> None:
    """The file of the build's pins and pyproject.toml name one hatchling."""
    asked = re.search(r'requires = \["(hatchling==[\d.]+)"\]', (ROOT / "pyproject.toml").read_text())

    assert asked is not None
    assert f"{asked[1]} \\\n    --hash=sha256:" in (ROOT / "requirements-build.txt").read_text()


def test_the_base_is_named_with_a_tag_and_without_a_registry() -> None:
    """Where images come from is the user's own choice."""
    bases = [line.split(" AS ")[0] for line in _instructions("FROM")]

    assert bases[0] == "python:3.11-slim-bookworm"
    assert set(bases[1:]) == {"python"}


def test_code_changes_leave_the_dependencies_layer_alone() -> None:
    """In the last stage no code is copied before the dependencies are installed."""
    last = LINES[max(number for number, line in enumerate(LINES) if line.startswith("FROM ")) :]
    copies = [line for line in last if line.startswith("COPY ")]

    assert copies == ["COPY requirements.txt /opt/watchmove/"]


def test_the_image_runs_one_command_as_a_numbered_user() -> None:
    """Pod Security wants a number; whoever runs the image gives the command's arguments only."""
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", _instructions("USER")[-1])
    assert _instructions("ENTRYPOINT") == ['["watchmove"]']


def test_the_builder_gets_what_it_copies_and_nothing_else() -> None:
    """The build context is a list of what is wanted, so no environment, history or secret can slip in."""
    ignore = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    wanted = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    copied = {source for line in _instructions("COPY") for source in line.split()[:-1]}

    assert ignore[0] == "*"
    assert wanted == copied
