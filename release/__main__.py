"""`python -m release` writes a release into dist/; `python -m release sbom` or `chart` only that part of it."""

import argparse
import sys
from pathlib import Path

from release.images import images_of
from release.refusal import Refused
from release.tree import Tree
from release.write import write_chart, write_release, write_sboms

ROOT = Path(__file__).parents[1]
INVALID_INPUT = 65


def main(words: list[str] | None = None) -> int:
    """Write what is asked for; returns the exit code, 65 where it is refused."""
    parser = argparse.ArgumentParser(prog="release", description=__doc__)
    parser.add_argument("part", nargs="?", default="all", choices=("all", "sbom", "chart"))
    parser.add_argument("--images", default="", help="NAME=IMAGE for watchmove and watchmove-slim, separated by spaces")
    parser.add_argument("--root", type=Path, default=ROOT, help="the working tree")
    given = parser.parse_args(words)
    write = {"all": write_release, "sbom": write_sboms, "chart": write_chart}[given.part]
    try:
        tree = Tree(given.root)
        for path in write(tree, images_of(given.images, tree.version)):
            print(path)
        if given.part == "all" and tree.has_unreleased():
            print(
                f"release: what CHANGELOG.md lists as [Unreleased] is not in the notes of {tree.version}",
                file=sys.stderr,
            )
    except Refused as refused:
        print(f"release: {refused}", file=sys.stderr)
        return INVALID_INPUT
    return 0


if __name__ == "__main__":
    sys.exit(main())
