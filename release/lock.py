"""Reading a lock of requirements: what an image installs of it, with hashes and what asks for each package."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_IMAGE = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": "3.11.0",
    "python_version": "3.11",
    "sys_platform": "linux",
}
"""What markers see in the image; other architectures of Linux install the same packages."""
_PIN = re.compile(r"^(?P<pin>[A-Za-z0-9].*?)(?: \\)?\n(?P<rest>(?:[ #].*\n)*)", re.MULTILINE)


class Pinned(NamedTuple):
    """One package of a lock.

    Attributes:
        name: in its normal form.
        version: the only one that is allowed.
        sha256: of the files of which pip may take any.
        asked_by: names of the packages that need this one, in their normal form.
    """

    name: str
    version: str
    sha256: tuple[str, ...]
    asked_by: frozenset[str]


def installed_of(lock: Path) -> list[Pinned]:
    """The packages that Python 3.11 on Linux installs of a lock, in its order."""
    return list(_installed(lock.read_text()))


def _installed(text: str) -> Iterator[Pinned]:
    environment = {**{key: str(value) for key, value in default_environment().items()}, **_IMAGE}
    for found in _PIN.finditer(text):
        asked = Requirement(found["pin"])
        if asked.marker is None or asked.marker.evaluate(environment):
            (pin,) = asked.specifier
            hashes = tuple(sorted(re.findall(r"--hash=sha256:([0-9a-f]{64})", found["rest"])))
            # `# via NAME`, or `# via` and a name on each line below.
            by = re.findall(r"^ +#(?: via)? +([A-Za-z0-9._-]+)", found["rest"], re.MULTILINE)
            names = frozenset(canonicalize_name(one) for one in by if one not in ("via", "-c"))
            yield Pinned(canonicalize_name(asked.name), pin.version, hashes, names)
