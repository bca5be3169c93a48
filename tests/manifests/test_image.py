"""The image is made from pinned things, holds no secret, and does not run as root."""

import re
import tomllib

import pytest

from tests.manifests.documents import ROOT
from watchmove.service.watching.machine_checks import NOT_IN_SLIM_IMAGE

LINES = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()


def _instructions(word: str) -> list[str]:
    return [line.removeprefix(f"{word} ") for line in LINES if line.startswith(f"{word} ")]


def test_every_package_comes_by_its_hash() -> None:
    """Each pip either checks hashes or may not fetch anything."""
    pips = [line for line in _instructions("RUN") if re.search(r"\bpip (install|wheel) ", line)]

    assert len(pips) == 6
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


def _stage(name: str) -> list[str]:
    """The lines of a stage, the first of which names it."""
    begins = [number for number, line in enumerate(LINES) if line.startswith("FROM ")]
    stages = [LINES[begin:end] for begin, end in zip(begins, [*begins[1:], None], strict=True)]
    (found,) = [stage for stage in stages if stage[0].endswith(f" AS {name}")]
    return found


@pytest.mark.parametrize(("name", "lock"), [("slim", "requirements-slim.txt"), ("full", "requirements.txt")])
def test_code_changes_leave_the_dependencies_layer_alone(name: str, lock: str) -> None:
    """In both images no code is copied before the dependencies are installed."""
    copies = [line for line in _stage(name) if line.startswith("COPY ")]

    assert copies == [f"COPY {lock} /opt/watchmove/"]


@pytest.mark.parametrize("name", ["slim", "full"])
def test_the_image_runs_one_command_as_a_numbered_user(name: str) -> None:
    """Pod Security wants a number; whoever runs the image gives the command's arguments only."""
    assert re.fullmatch(r"USER [1-9]\d*:[1-9]\d*", [line for line in _stage(name) if line][-1])
    assert _instructions("ENTRYPOINT") == ['["watchmove"]']


def test_the_full_image_is_what_is_built_without_a_target() -> None:
    """Whoever names no target gets the image of every step."""
    assert _instructions("FROM")[-1] == "python AS full"


def _pins(lock: str) -> set[tuple[str, frozenset[str]]]:
    """The pins of a lock, with their markers, and the hashes of each."""
    blocks = re.findall(r"^([a-z0-9-]+==[^\\]*?) \\\n((?: +--hash=.*\n)+)", (ROOT / lock).read_text(), re.MULTILINE)
    return {(pin, frozenset(re.findall(r"sha256:\w+", hashes))) for pin, hashes in blocks}


def test_the_slim_lock_is_a_part_of_the_full_one() -> None:
    """The same versions with the same hashes, so that both images compute the same."""
    slim, full = _pins("requirements-slim.txt"), _pins("requirements.txt")
    names = {pin.partition("==")[0] for pin, _ in slim}

    assert len(slim) > 40
    assert slim < full
    assert names.isdisjoint({"torch", "torchvision", "triton", "scipy", "imageio-ffmpeg"})


def test_the_slim_group_is_all_that_is_required_but_what_doctor_knows_to_be_left_out() -> None:
    """A new requirement, also of the extra `otel`, is put into the group, or into the list of those left out."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    own = project["project"]
    lines = (*own["dependencies"], *own["optional-dependencies"]["otel"])
    required = {re.split(r"[<>=]", line)[0] for line in lines}

    assert set(project["dependency-groups"]["slim"]) == required - NOT_IN_SLIM_IMAGE


def test_the_builder_gets_what_it_copies_and_nothing_else() -> None:
    """The build context is a list of what is wanted, so no environment, history or secret can slip in."""
    ignore = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    wanted = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    copied = {source for line in _instructions("COPY") for source in line.split()[:-1]}

    assert ignore[0] == "*"
    assert wanted == copied
