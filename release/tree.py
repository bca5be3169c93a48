"""The working tree that a release is made of: its version, its changes, and the commit that it is at."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

from release.refusal import Refused

_NUMBER = "(0|[1-9][0-9]*)"
_VERSION = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(-[a-z]+(\.{_NUMBER})?)?")
"""The part of Semantic Versioning that is also a version of Python and the tag of an image."""


class Tree:
    """A working tree of git.

    Attributes:
        root: the folder.
        version: that of pyproject.toml.
    """

    def __init__(self, root: Path) -> None:
        """Read the version.

        Raises:
            Refused: there is none, or Helm and registries take no such version.
        """
        self.root = root
        path = root / "pyproject.toml"
        try:
            self.version = str(tomllib.loads(path.read_text())["project"]["version"])
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise Refused(f"{path}: has no version of a project ({' '.join(str(error).split())})") from error
        if not _VERSION.fullmatch(self.version):
            raise Refused(f"{path}: version {self.version}: expected X.Y.Z or X.Y.Z-rc.N, as charts and tags have it")

    def need_clean(self) -> None:
        """Refuse a tree that differs from its commit: nobody else could make the same release."""
        changed = self._git("status", "--porcelain").splitlines()
        if changed:
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            raise Refused(f"the tree is not clean: {changed[0][3:]}{more}; commit, or `git stash --include-untracked`")

    def commit_seconds(self) -> int:
        """Time of the commit, in seconds since 1970: the one time that a release carries."""
        return int(self._git("log", "-1", "--format=%ct"))

    def notes(self) -> str:
        """The version's section of CHANGELOG.md.

        Raises:
            Refused: there is none.
        """
        notes = self._section(self.version)
        if not notes:
            raise Refused(
                f"CHANGELOG.md has no section `## [{self.version}]`, the version of pyproject.toml; "
                "give [Unreleased] that heading, or change the version"
            )
        return notes

    def has_unreleased(self) -> bool:
        """Whether CHANGELOG.md has entries that no version has."""
        return "\n- " in self._section("Unreleased")

    def _section(self, version: str) -> str:
        """A section of CHANGELOG.md with its heading, empty if there is none."""
        form = rf"^## \[{re.escape(version)}\].*?(?=^## |\Z)"
        found = re.search(form, (self.root / "CHANGELOG.md").read_text(), re.MULTILINE | re.DOTALL)
        return found[0].rstrip() + "\n" if found else ""

    def _git(self, *words: str) -> str:
        git = shutil.which("git")
        if git is None:
            raise Refused("git is not on PATH")
        done = subprocess.run([git, "-C", str(self.root), *words], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Refused(
                f"{self.root} is not a working tree of git with a commit, whose time a release carries; clone the "
                "repository, or commit these files to a new one"
            )
        return done.stdout
