"""An installation without a clone: kustomize reads the base and the components from git, as the docs describe."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from tests.manifests.documents import OVERLAYS, ROOT, built, built_in
from tests.release.trees import VERSION, committed, git

PAGE = ROOT / "docs" / "how-to" / "cluster.md"
CLOUD = ROOT / "k8s" / "overlays" / "cloud"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a repository with this tree under a tag."""
    tree = committed(tmp_path_factory.mktemp("tree"))
    bare = tmp_path_factory.mktemp("served") / "watchmove.git"
    git(tree, "clone", "--quiet", "--bare", str(tree), str(bare))
    return f"file://{bare}"


def test_the_overlay_of_the_docs_is_the_overlay_for_a_cloud(repository: str, tmp_path: Path) -> None:
    """With the settings of the tree, all objects are the same."""
    (text,) = re.findall(r"^# kustomization.yaml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    addressed = text.replace("https://git.example/vision/watchmove.git", repository).replace(
        f"ref=v{VERSION}", "ref=v1"
    )
    (tmp_path / "kustomization.yaml").write_text(addressed)
    shutil.copy(CLOUD / "settings.yaml", tmp_path)

    assert len(re.findall(rf"{re.escape(repository)}//\S+\?ref=v1", addressed)) == 3
    assert built_in(tmp_path) == built("cloud")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_is_built_from_git(repository: str, tmp_path: Path, overlay: str) -> None:
    """In another namespace: nothing of it needs a file outside of what is fetched."""
    own = {"resources": [f"{repository}//k8s/overlays/{overlay}?ref=v1"], "namespace": "vision"}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(own))
    documents = built_in(tmp_path)
    subjects = [subject for one in documents for subject in one.get("subjects", ())]

    assert [one["kind"] for one in documents] == [one["kind"] for one in built(overlay)]
    assert {one["metadata"]["namespace"] for one in documents if one["kind"] != "Namespace"} == {"vision"}
    assert {subject["namespace"] for subject in subjects} == {"vision"}
