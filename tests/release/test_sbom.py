"""Lists of what the images contain: valid, complete by the locks, and with the licences that have to be known."""

import json
import re
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import imageio_ffmpeg
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from release.lock import installed_of
from release.sbom import LOCKS, sbom, stated_licences
from release.tree import Tree
from tests.release.trees import ROOT, committed

COPYLEFT = {"ffmpeg": "a program of its own, which is run, not linked; its source is that of the FFmpeg project"}
"""Components under the GPL alone, and why the images have them."""


@cache
def _sbom(image: str) -> dict[str, Any]:
    with TemporaryDirectory() as folder:
        return dict(json.loads(sbom(Tree(committed(Path(folder))), image)))


def _components(image: str) -> dict[str, dict[str, Any]]:
    found = _sbom(image)["components"]
    inner = [one for outer in found for one in outer.get("components", ())]
    return {one["name"]: one for one in [*found, *inner]}


@pytest.mark.parametrize("image", LOCKS)
def test_a_list_is_valid_cyclonedx(image: str) -> None:
    """By the schema of CycloneDX itself."""
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(_sbom(image))) is None


def test_a_list_has_what_linux_installs_of_the_lock_and_nothing_else() -> None:
    """What pip asks for in the image; packages of Windows and of later Pythons are not there."""
    components = _components("watchmove")
    pinned = dict(re.findall(r"^([a-z0-9-]+)==([^ ]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE))

    assert "colorama" in pinned
    assert set(components) == set(pinned) - {"colorama"} | {"python", "ffmpeg"}
    assert components["numpy"]["version"] == "2.4.6"
    assert components["torch"]["purl"] == f"pkg:pypi/torch@{pinned['torch']}"


def test_the_slim_image_has_no_pytorch_and_no_ffmpeg() -> None:
    """Its list is that of its own lock."""
    names = set(_components("watchmove-slim"))

    assert {"boto3", "matplotlib"} < names
    assert not names & {"torch", "scipy", "opencv-contrib-python-headless", "imageio-ffmpeg", "ffmpeg"}


def test_a_package_has_the_hashes_of_the_lock_and_those_whom_it_needs() -> None:
    """Known answers from the lock."""
    components = _components("watchmove")
    (files,) = components["six"]["externalReferences"]
    needs = {row["ref"]: row.get("dependsOn", []) for row in _sbom("watchmove")["dependencies"]}
    lock = (ROOT / "requirements.txt").read_text()

    for one in files["hashes"]:
        assert f"--hash=sha256:{one['content']}" in lock.split("\nsix==")[1].split("# via")[0]
    assert components["six"]["purl"] in needs[components["python-dateutil"]["purl"]]
    assert components["boto3"]["purl"] in needs["watchmove"]
    assert components["six"]["purl"] not in needs["watchmove"]


def test_a_list_says_what_it_does_not_list() -> None:
    """Debian's packages are those of the base, which it names: the Dockerfile adds none of them."""
    said = [row["value"] for row in _sbom("watchmove")["metadata"]["properties"]]

    assert any("Debian packages" in text for text in said)
    assert _components("watchmove")["python"]["version"] == "3.11-slim-bookworm"
    assert "apt" not in re.findall(r"\w+", (ROOT / "Dockerfile").read_text())


def test_licences_are_those_that_the_installed_packages_state() -> None:
    """By expression, by classifier, and none for a package in another version."""
    components = _components("watchmove")
    stated = [one for one in components.values() if one.get("licenses")]
    (six,) = [one for one in installed_of(ROOT / "requirements.txt") if one.name == "six"]

    assert components["urllib3"]["licenses"] == [{"license": {"id": "MIT"}}]
    assert components["six"]["licenses"] == [{"license": {"name": "MIT License"}}]
    assert len(stated) >= 0.9 * len(components)
    assert stated_licences(six._replace(version="0.1")) == []


@pytest.mark.parametrize("image", LOCKS)
def test_no_package_is_under_the_gpl_alone(image: str) -> None:
    """A weaker form, or another licence to choose, is none of these."""
    under = {name for name, one in _components(image).items() if _is_gpl_alone(one.get("licenses", ()))}

    assert under == set(COPYLEFT) & set(_components(image))


@pytest.mark.parametrize(
    ("licence", "alone"),
    [
        ({"expression": "GPL-3.0-or-later"}, True),
        ({"expression": "MIT OR GPL-2.0-only"}, False),
        ({"expression": "MIT AND GPL-2.0-only"}, True),
        ({"license": {"id": "LGPL-2.1-only"}}, False),
        ({"license": {"name": "GNU Affero General Public License v3"}}, True),
        ({"license": {"name": "GNU Lesser General Public License v2 or later (LGPLv2+)"}}, False),
    ],
)
def test_what_counts_as_the_gpl_alone(licence: dict[str, Any], alone: bool) -> None:
    """The names are those of SPDX and of classifiers."""
    assert _is_gpl_alone([licence]) is alone


def _is_gpl_alone(licences: Any) -> bool:
    texts = [one.get("expression") or one["license"].get("id") or one["license"]["name"] for one in licences]
    ways = [way for text in texts for way in text.split(" OR ")]
    return bool(ways) and all(re.search(r"(?<!L)\b[A]?GPL|GNU (Affero )?General Public", way) for way in ways)


def test_the_ffmpeg_of_the_image_is_under_the_gpl() -> None:
    """The program in the wheel says with what it was configured; its wheel's own licence is another."""
    program = imageio_ffmpeg.get_ffmpeg_exe()
    said = subprocess.run([program, "-version"], capture_output=True, text=True, check=True).stdout

    assert {"--enable-gpl", "--enable-version3"} <= set(said.split())
