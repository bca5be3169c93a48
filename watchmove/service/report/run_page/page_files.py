"""A page as a folder: index.html without scripts, and its pictures as files beside it; or all in one file.

Argo's user interface shows artifacts under a policy that permits neither scripts nor `data:` addresses, so pictures are
files. A file is named by its content: a page that is written again never names a picture that has changed meanwhile.
"""

import base64
import hashlib
import re
from pathlib import Path

from watchmove.pipeline.files.atomic import write_bytes
from watchmove.service.records import layout
from watchmove.service.records.stream import in_order
from watchmove.service.store.store import Store

_KINDS = {".jpg": "image/jpeg", ".png": "image/png", ".svg": "image/svg+xml"}
_SOURCE = re.compile(r'src="(?P<name>[0-9a-f]{16}\.(?:jpg|png|svg))"')
_DIGITS = 16
"""Digits of a picture's SHA-256 in its name."""


class PageFiles:
    """Collects the pictures of one page; `contents` has their bytes by name."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}

    def add(self, content: bytes, suffix: str) -> str:
        """Add a picture, `.jpg`, `.png` or `.svg`, and return the name by which the page refers to it."""
        name = hashlib.sha256(content).hexdigest()[:_DIGITS] + suffix
        self.contents[name] = content
        return name

    def embedded(self, page: str) -> str:
        """Return a page with the pictures inside it, as `data:` addresses."""

        def with_data(found: re.Match[str]) -> str:
            content = self.contents[found["name"]]
            kind = _KINDS["." + found["name"].rpartition(".")[2]]
            return f'src="data:{kind};base64,{base64.b64encode(content).decode()}"'

        return _SOURCE.sub(with_data, page)


def pictures_of(page: str) -> set[str]:
    """Return the names of the files beside a page that it shows."""
    return {found["name"] for found in _SOURCE.finditer(page)}


def write_folder(folder: Path, page: str, files: PageFiles) -> None:
    """Write a page and its pictures to a folder of this machine; raises the errors of `write_bytes`."""
    for name, content in files.contents.items():
        write_bytes(folder / name, content)
    write_bytes(folder / "index.html", page.encode())


def write_page(store: Store, run: str, page: str, files: PageFiles) -> str:
    """Write a run's report as a folder, and return the key of its page.

    The page follows its pictures and is one object, so that it is complete at any time. Pictures that only an earlier
    page had are removed last.

    Raises:
        Unavailable: the store cannot be reached.
    """
    key = layout.report(run)
    folder = key.rpartition("/")[0] + "/"
    known = {item.key for item in store.list(folder)}
    wanting = [name for name in files.contents if folder + name not in known]
    list(in_order(lambda name: store.write(folder + name, files.contents[name]), wanting))
    store.write(key, page.encode())
    for other in sorted(known - {key} - {folder + name for name in files.contents}):
        store.remove(other)
    return key
