"""Commands as the slim image runs them: with the standard library and the packages of requirements-slim.txt alone."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path

ROOT = Path(__file__).parents[2]
_COMMAND = (sys.executable, "-S", "-m", "watchmove")
"""`-S`: without the packages of this environment."""
_PIN = re.compile(r"^([a-z0-9-]+)==", re.MULTILINE)


def link_packages(folder: Path) -> Path:
    """Make `folder` a place of packages, links to what is installed here of those in the slim lock; return it."""
    folder.mkdir()
    pinned = set(_PIN.findall((ROOT / "requirements-slim.txt").read_text())) - {"colorama"}  # Windows alone has it
    for name in {*pinned, "watchmove"}:
        installed = distribution(name)
        tops = {file.parts[0] for file in installed.files or ()} - {"..", "__pycache__", "bin"}
        for top in tops:
            link = folder / top
            if not link.is_symlink():
                link.symlink_to(Path(str(installed.locate_file(top))))
    return folder


def run_slim(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a `watchmove` command that finds only the packages in `folder` and this tree."""
    line, environment = [*_COMMAND, *arguments], _environment(folder)
    # where commands that name no place to write to may write
    return subprocess.run(line, capture_output=True, text=True, check=False, env=environment, cwd=folder.parent)


@contextmanager
def started_slim(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Such a command as a process, which is killed at the end of the block."""
    with subprocess.Popen([*_COMMAND, *arguments], env=_environment(folder)) as process:
        try:
            yield process
        finally:
            process.kill()


def _environment(folder: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
