"""`make release`: complete, the same bytes again, and refused in one line where nobody else could repeat it."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from release.__main__ import main
from release.images import Image, images_of
from release.refusal import Refused
from release.tree import Tree
from tests.manifests.documents import OVERLAYS, need_kustomize
from tests.release.trees import ROOT, VERSION, commit, committed

DIGEST = f"sha256:{'ab' * 32}"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A clean tree of this project's version, which CHANGELOG.md describes."""
    need_kustomize()
    return committed(tmp_path)


def _release(tree: Path, *words: str) -> int:
    return main(["--root", str(tree), *words])


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with its release, of images that are not given."""
    need_kustomize()
    tree = committed(tmp_path_factory.mktemp("released"))
    assert _release(tree) == 0
    return tree


def test_a_release_has_every_part_and_its_sums(released: Path) -> None:
    """A manifest for each overlay, the chart, what both images contain, the notes, and what each file's bytes are."""
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (released / "dist").iterdir()}
    del found["SHA256SUMS"]

    assert set(found) == {
        *(f"watchmove-{VERSION}-{overlay}.yaml" for overlay in OVERLAYS),
        *(f"watchmove-{VERSION}.tgz", f"watchmove-{VERSION}.cdx.json", f"watchmove-slim-{VERSION}.cdx.json"),
        *("CHANGELOG.md", "images.txt"),
    }
    assert (released / "dist" / "SHA256SUMS").read_text() == "".join(
        f"{found[name]}  {name}\n" for name in sorted(found)
    )


def test_the_same_commit_gives_the_same_bytes(released: Path) -> None:
    """In another process, so that no order of a set is the same by chance; what is left over from before is removed."""
    first = {path.name: path.read_bytes() for path in (released / "dist").iterdir()}
    (released / "dist" / "left-over").touch()
    again = [sys.executable, "-m", "release", "--root", str(released)]
    done = subprocess.run(again, check=True, capture_output=True, text=True, cwd=ROOT)

    assert ("lists as [Unreleased] is not in the notes" in done.stderr) == Tree(released).has_unreleased()
    assert {path.name: path.read_bytes() for path in (released / "dist").iterdir()} == first


def test_manifests_name_the_versions_tag_or_the_digest_that_is_given(released: Path, tree: Path) -> None:
    """In every container and in every variable that tells a step its image; other images stay."""
    _release(tree, "--images", f"watchmove=host.example:5000/team/watchmove@{DIGEST} watchmove-slim=host.example/slim")
    by_tag, by_digest = _images(released), _images(tree)

    assert by_tag["cloud"] == {f"registry.example/watchmove:{VERSION}"}
    assert by_tag["kind"] >= {f"docker.io/library/watchmove:{VERSION}"}
    assert by_digest["cloud"] == {f"host.example:5000/team/watchmove@{DIGEST}"}
    assert by_digest["kind"] == by_tag["kind"] - {f"docker.io/library/watchmove:{VERSION}"} | by_digest["cloud"]
    listed = (tree / "dist" / "images.txt").read_text().split()
    assert set(listed) == by_digest["kind"] | {f"host.example/slim:{VERSION}-slim"}


def _images(tree: Path) -> dict[str, set[str]]:
    """Images of each overlay's manifest, found by their form rather than by their place."""
    found = {}
    for overlay in OVERLAYS:
        text = (tree / "dist" / f"watchmove-{VERSION}-{overlay}.yaml").read_text()
        words = {str(word) for one in yaml.safe_load_all(text) for word in _strings(one)}
        found[overlay] = {word for word in words if re.match(r"(docker|ghcr|host|registry)\.", word)}
    return found


def _strings(node: object) -> list[object]:
    if isinstance(node, dict):
        node = list(node.values())
    return [word for one in node for word in _strings(one)] if isinstance(node, list) else [node]


def test_the_notes_are_the_versions_section(tmp_path: Path) -> None:
    """From its heading to the next one."""
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "0.2.0"\n')
    sections = "## [0.2.0-rc.1]\n\n- A.\n\n", "## [0.2.0] - today\n\n### Added\n\n- Two.\n\n", "## [0.1.0]\n\n- One.\n"
    (tmp_path / "CHANGELOG.md").write_text("# Changes\n\n" + "".join(sections))

    assert Tree(tmp_path).notes() == "## [0.2.0] - today\n\n### Added\n\n- Two.\n"
    assert not Tree(tmp_path).has_unreleased()
    with (tmp_path / "CHANGELOG.md").open("a") as changes:
        changes.write("\n## [Unreleased]\n\n### Added\n\n- Four.\n")
    assert Tree(tmp_path).has_unreleased()


@pytest.mark.parametrize("name", ["k8s/base/rbac.yaml", "left-over.txt"])
def test_a_tree_that_is_not_clean_is_refused(tree: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In one line that names what differs from the commit, and nothing is written."""
    with (tree / name).open("a") as changed:
        changed.write("# changed\n")

    assert _release(tree) == 65
    assert capsys.readouterr().err == (
        f"release: the tree is not clean: {name}; commit, or `git stash --include-untracked`\n"
    )
    assert not (tree / "dist").exists()


def test_a_version_without_a_section_is_refused(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A section of a similar version is not it."""
    project = (tree / "pyproject.toml").read_text()
    (tree / "pyproject.toml").write_text(project.replace(f'version = "{VERSION}"', 'version = "0.1.0-rc.1"', 1))
    commit(tree)

    assert _release(tree) == 65
    assert capsys.readouterr().err.startswith("release: CHANGELOG.md has no section `## [0.1.0-rc.1]`")
    assert not (tree / "dist").exists()


@pytest.mark.parametrize(
    "word",
    [
        "watchmove",
        "other=host/other",
        "watchmove=host/watchmove@sha256:12",
        "watchmove=",
        "watchmove=host/Watchmove:1",
        "watchmove=https://host/watchmove",
        "watchmove=host/watchmove:1:2",
        "watchmove=host/watchmove:.1",
    ],
)
def test_an_image_of_another_form_is_refused(word: str) -> None:
    """The line has the word and the form."""
    with pytest.raises(Refused, match=r"IMAGES: .*expected NAME=REPOSITORY"):
        images_of(word, "1.0")


def test_an_image_that_is_given_twice_is_refused() -> None:
    """Nothing says which one is meant."""
    with pytest.raises(Refused, match="watchmove is given twice"):
        images_of("watchmove=host/a:1 watchmove=host/b:1", "1.0")


@pytest.mark.parametrize("version", ["0.2.0rc1", "0.2", "0.2.0+local", "v0.2.0", "0.2.0-rc 1", "00.2.0"])
def test_a_version_that_helm_does_not_take_is_refused(version: str, tmp_path: Path) -> None:
    """Before anything is written: Helm refuses such a chart, and registries such a tag."""
    (tmp_path / "pyproject.toml").write_text(f'[project]\nversion = "{version}"\n')

    with pytest.raises(Refused, match=r"expected X\.Y\.Z"):
        Tree(tmp_path)


@pytest.mark.parametrize("version", ["0.2.0", "10.0.1", "0.2.0-rc.1"])
def test_versions_of_releases_are_taken(version: str, tmp_path: Path) -> None:
    """With those of candidates."""
    (tmp_path / "pyproject.toml").write_text(f'[project]\nversion = "{version}"\n')

    assert Tree(tmp_path).version == version


@pytest.mark.parametrize("text", [None, "", "[project]", "project = 1", "="])
def test_a_folder_without_a_project_is_refused(text: str | None, tmp_path: Path) -> None:
    """The line has the file."""
    if text is not None:
        (tmp_path / "pyproject.toml").write_text(text)

    with pytest.raises(Refused, match=r"pyproject\.toml: has no version"):
        Tree(tmp_path)


def test_an_image_without_tag_and_digest_has_the_versions_tag() -> None:
    """That of the slim one says so; a port is no tag."""
    given = "watchmove=host:5000/watchmove watchmove-slim=host/watchmove"

    assert images_of(given, "1.0") == {
        "watchmove": Image("host:5000/watchmove", "1.0"),
        "watchmove-slim": Image("host/watchmove", "1.0-slim"),
    }


def test_the_overlay_names_the_version_of_the_project() -> None:
    """What a user copies is what `pip install` says it is."""
    (image,) = yaml.safe_load((ROOT / "k8s" / "overlays" / "cloud" / "kustomization.yaml").read_text())["images"]

    assert image["newTag"] == VERSION
