"""Writing a release into dist/: the same bytes for the same commit and images, if the same programs build it."""

import shutil
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path

import yaml

from release.archive import archive
from release.chart import chart
from release.images import Image, named_in
from release.kustomize import manifest
from release.sbom import LOCKS, sbom
from release.tree import Tree

DIST = "dist"
Images = Mapping[str, Image]


def write_release(tree: Tree, images: Images) -> list[Path]:
    """Replace dist/ by a whole release; returns its files.

    Raises:
        Refused: the tree is not clean, its version has no section in CHANGELOG.md, or kustomize is not there.
    """
    tree.need_clean()
    notes = tree.notes()
    manifests = _manifests(tree, images)
    files = {
        **_encoded({"CHANGELOG.md": notes, "images.txt": _images(manifests.values(), images)}),
        **_encoded(manifests),
        **_encoded(_sboms(tree)),
        **_chart(tree, images),
    }
    sums = "".join(f"{sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
    shutil.rmtree(tree.root / DIST, ignore_errors=True)
    return _written(tree, {**files, **_encoded({"SHA256SUMS": sums})})


def write_sboms(tree: Tree, images: Images) -> list[Path]:  # noqa: ARG001
    """Write only the lists of what the images contain; the tree need not be clean."""
    return _written(tree, _encoded(_sboms(tree)))


def write_chart(tree: Tree, images: Images) -> list[Path]:
    """Write only the chart; the tree need not be clean."""
    return _written(tree, _chart(tree, images))


def _manifests(tree: Tree, images: Images) -> dict[str, str]:
    overlays = sorted((tree.root / "k8s" / "overlays").iterdir())
    return {f"watchmove-{tree.version}-{one.name}.yaml": manifest(one, tree.version, images) for one in overlays}


def _sboms(tree: Tree) -> dict[str, str]:
    return {f"{image}-{tree.version}.cdx.json": sbom(tree, image) for image in LOCKS}


def _chart(tree: Tree, images: Images) -> dict[str, bytes]:
    return {f"watchmove-{tree.version}.tgz": archive(chart(tree, images), tree.commit_seconds())}


def _images(manifests: Iterable[str], images: Images) -> str:
    """The images that have to be there, one a line, for those who copy them to a registry of their own."""
    documents = [one for text in manifests for one in yaml.safe_load_all(text)]
    chosen = {image.reference for image in images.values()}
    return "".join(f"{reference}\n" for reference in sorted(named_in(documents) | chosen))


def _encoded(texts: Mapping[str, str]) -> dict[str, bytes]:
    return {name: text.encode() for name, text in texts.items()}


def _written(tree: Tree, files: Mapping[str, bytes]) -> list[Path]:
    folder = tree.root / DIST
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return sorted(folder / name for name in files)
