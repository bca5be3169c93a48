"""Working trees of git with this project's files, for tests that need a commit of their own."""

import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VERSION = str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])
_FILES = ("CHANGELOG.md", "Dockerfile", "pyproject.toml", "requirements.txt", "requirements-slim.txt", ".gitignore")
_NOBODY = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.com", "-c", "commit.gpgsign=false")


def committed(folder: Path) -> Path:
    """A copy of what a release is made of, in one commit with the tag v1."""
    for name in _FILES:
        shutil.copy(ROOT / name, folder)
    for name in ("argo", "k8s"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    git(folder, "init", "--quiet")
    commit(folder)
    git(folder, "tag", "v1")
    return folder


def commit(folder: Path) -> None:
    """Commit all that is there."""
    git(folder, "add", "--all")
    git(folder, *_NOBODY, "commit", "--quiet", "--message", "All")


def git(folder: Path, *words: str) -> str:
    """Run git in a folder, without the configuration of who runs the test."""
    program = shutil.which("git")
    if program is None:
        pytest.skip("git is not on PATH")
    alone = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    return subprocess.run(
        [program, "-C", str(folder), *words], capture_output=True, text=True, check=True, env=alone
    ).stdout
