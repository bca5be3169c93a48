"""What the images contain, as CycloneDX 1.6: the packages of their locks, with hashes, licences and who needs whom.

Not listed, and every document says so: the Debian packages and the Python of the base image, which only a build knows,
and libraries inside wheels, except ffmpeg, which is a program of its own.
"""

import re
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from release.lock import Pinned, installed_of
from release.tree import Tree

LOCKS = {"watchmove": "requirements.txt", "watchmove-slim": "requirements-slim.txt"}
"""The lock of each image."""
NOT_LISTED = (
    "the Debian packages and the Python of the base image; scan the image that was built for them",
    "libraries inside the wheels of packages, such as those of OpenCV, NumPy and SciPy",
)
_CLASSIFIER = "License :: OSI Approved :: "


def sbom(tree: Tree, image: str) -> str:
    """The document of an image, the same for every call on one commit with the same packages installed.

    Licences are what the metadata of the installed packages states: a package that is not installed, or in another
    version than the lock's, has none.
    """
    packages = installed_of(tree.root / LOCKS[image])
    root = Component(name=image, version=tree.version, type=ComponentType.CONTAINER, bom_ref=image)
    components = {one.name: component_of(one) for one in packages}
    base = _base(tree.root / "Dockerfile")
    bom = Bom(components=[base, *components.values()])
    bom.serial_number = uuid5(NAMESPACE_URL, f"{image}@{tree.version}/{tree.commit_seconds()}")
    bom.metadata.timestamp = datetime.fromtimestamp(tree.commit_seconds(), UTC)
    bom.metadata.component = root
    bom.metadata.properties.update(Property(name="watchmove:not-listed", value=text) for text in NOT_LISTED)
    for one in packages:
        needed = [components[other.name] for other in packages if one.name in other.asked_by]
        bom.register_dependency(components[one.name], needed)
    bom.register_dependency(root, [base, *(components[one.name] for one in packages if "watchmove" in one.asked_by)])
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


def component_of(package: Pinned) -> Component:
    """A package with its licences, and ffmpeg in the one that brings it."""
    url = PackageURL("pypi", None, package.name, package.version)
    files = ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION,
        url=XsUri(str(url)),
        comment="The lock allows the files with these hashes.",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=one) for one in package.sha256],
    )
    return Component(
        name=package.name,
        version=package.version,
        purl=url,
        bom_ref=str(url),
        external_references=[files],
        licenses=stated_licences(package),
        components=[_ffmpeg()] if package.name == "imageio-ffmpeg" else [],
    )


def stated_licences(package: Pinned) -> list[License]:
    """What the installed package's metadata states: its expression, else its classifiers, else its short free text."""
    try:
        stated: dict[str, Any] = metadata.metadata(package.name).json
    except metadata.PackageNotFoundError:
        return []
    if stated["version"] != package.version:
        return []
    factory = LicenseFactory()
    if expression := stated.get("license_expression"):
        return [factory.make_from_string(expression)]
    classifiers = [one for one in stated.get("classifier", ()) if one.startswith(_CLASSIFIER)]
    if classifiers:
        return [factory.make_with_name(one.removeprefix(_CLASSIFIER)) for one in classifiers]
    text = stated.get("license", "")
    return [factory.make_from_string(text)] if text and "\n" not in text and text != "UNKNOWN" else []


def _ffmpeg() -> Component:
    """The program in imageio-ffmpeg's wheel, which is configured with --enable-gpl and --enable-version3."""
    licence = LicenseFactory().make_with_expression("GPL-3.0-or-later")
    return Component(name="ffmpeg", type=ComponentType.APPLICATION, bom_ref="ffmpeg", licenses=[licence])


def _base(dockerfile: Path) -> Component:
    (name, tag) = re.findall(r"^FROM ([a-z]+):(\S+)", dockerfile.read_text(), re.MULTILINE)[0]
    return Component(name=name, version=tag, type=ComponentType.CONTAINER, bom_ref=f"{name}:{tag}")
