"""Building manifests with kustomize, in kubectl or by itself."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from release.images import Image
from release.refusal import Refused

Document = dict[str, Any]
_PROGRAMS = (("kubectl", "kustomize"), ("kustomize", "build"))


def program() -> tuple[str, ...]:
    """The command that builds a folder; empty where neither kubectl nor kustomize is on PATH."""
    return next((one for one in _PROGRAMS if shutil.which(one[0])), ())


def built_text(folder: Path) -> str:
    """The objects that kustomize makes of a folder, as YAML.

    Raises:
        Refused: there is no kustomize, or it refuses the folder.
    """
    command = program()
    if not command:
        raise Refused("neither kubectl nor kustomize is on PATH; one of them builds the manifests")
    made = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise Refused(f"{folder}: {' '.join(made.stderr.split())}")
    return made.stdout


def built_on(bases: Sequence[Path], components: Sequence[Path] = (), **fields: object) -> str:
    """The objects of an overlay that is written for the occasion; `fields` are others of its kustomization.yaml."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made).resolve()
        overlay = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [os.path.relpath(base.resolve(), folder) for base in bases],
            "components": [os.path.relpath(one.resolve(), folder) for one in components],
            **fields,
        }
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay, sort_keys=False))
        return built_text(folder)


def manifest(overlay: Path, tag: str, images: Mapping[str, Image]) -> str:
    """The objects of an overlay with the images of a release.

    An image that is not given keeps its repository and gets the release's tag.
    """
    own = {row["name"]: row for row in yaml.safe_load((overlay / "kustomization.yaml").read_text())["images"]}
    placed = {name: images.get(name, Image(row["newName"], tag)) for name, row in own.items()}
    return built_on([overlay], images=[image.replacing(own[name]["newName"]) for name, image in placed.items()])
