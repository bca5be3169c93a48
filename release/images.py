"""The images that a release names: by the version's tag, or by tag or digest as they are given."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from release.refusal import Refused

NAMES = ("watchmove", "watchmove-slim")
_PART = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_FORM = re.compile(
    rf"(?P<repository>(?:[A-Za-z0-9.-]+(?::[0-9]+)?/)?{_PART}(?:/{_PART})*)"
    r"(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(@(?P<digest>sha256:[0-9a-f]{64}))?"
)
"""An image's reference, as Kubernetes and registries take it: another one would be found by the pods."""


class Image(NamedTuple):
    """Where an image is; the digest, if there is one, counts rather than the tag."""

    repository: str
    tag: str
    digest: str = ""

    @property
    def reference(self) -> str:
        """What a pod names."""
        return f"{self.repository}@{self.digest}" if self.digest else f"{self.repository}:{self.tag}"

    def replacing(self, name: str) -> dict[str, str]:
        """The entry of kustomize's `images` that puts this image in the place of `name`."""
        which = {"digest": self.digest} if self.digest else {"newTag": self.tag}
        return {"name": name, "newName": self.repository, **which}


def default_tag(name: str, version: str) -> str:
    """The tag of an image of a version: that of the slim one says so."""
    return version + name.removeprefix("watchmove")


def images_of(given: str, version: str) -> dict[str, Image]:
    """The images of a text such as `watchmove=registry.example/watchmove@sha256:…`; by default with the version's tag.

    Raises:
        Refused: a word has another form or names another image.
    """
    found = {}
    for word in given.split():
        name, _, reference = word.partition("=")
        form = _FORM.fullmatch(reference)
        if name not in NAMES or form is None:
            expected = f"NAME=REPOSITORY[:TAG][@sha256:DIGEST], where NAME is {' or '.join(NAMES)}"
            raise Refused(f"IMAGES: {word}: expected {expected}")
        if name in found:
            raise Refused(f"IMAGES: {word}: {name} is given twice")
        tag = form["tag"] or default_tag(name, version)
        found[name] = Image(form["repository"], tag, form["digest"] or "")
    return found


def named_in(documents: Iterable[Mapping[str, object]]) -> set[str]:
    """Every image of a container, and every value that tells a step or a Job its image, in Kubernetes' objects."""
    return {image for document in documents for image in _images(document)}


def _images(node: object) -> Iterable[str]:
    if isinstance(node, Mapping):
        if isinstance(node.get("image"), str):
            yield node["image"]
        if node.get("name") == "image" and isinstance(node.get("value"), str):
            yield node["value"]
        node = list(node.values())
    if isinstance(node, list):
        for one in node:
            yield from _images(one)
