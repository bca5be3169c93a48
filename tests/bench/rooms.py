"""Count the rooms of the tree, the arrows among them, and the circles: `python tests/bench/rooms.py`.

A room is a file or folder directly below `pipeline/` or `service/`; an arrow is a pair of rooms of which one imports
the other; a circle is a set of files, or of rooms, that import one another. `--packages` names other packages, for
example those of another commit that is checked out elsewhere and put on PYTHONPATH.
"""

import argparse
from collections.abc import Iterable

import grimp
import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Arrow = tuple[str, str]


def main() -> None:
    """Print one row for each package."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--packages", nargs="+", default=["watchmove.pipeline", "watchmove.service"])
    packages = parser.parse_args().packages
    roots = sorted({package.partition(".")[0] for package in packages})
    graph = grimp.build_graph(*roots)
    table = Table(
        "package", "files", "rooms", "arrows", "circles of files", "circles of rooms", "most files in a folder"
    )
    for package in packages:
        table.add_row(package, *(str(count) for count in counted(graph, package)))
    Console(width=120).print(table)


def counted(graph: grimp.ImportGraph, package: str) -> tuple[int, int, int, int, int, int]:
    """Files, rooms, arrows, circles of files and of rooms, and the largest number of files in one folder."""
    folders = {module for module in graph.modules if graph.find_children(module)}
    files = {module for module in graph.find_descendants(package) if module not in folders}
    imports = {
        (importer, imported)
        for importer in files
        for imported in graph.find_modules_directly_imported_by(importer) & files
    }
    between_rooms = ((room(importer, package), room(imported, package)) for importer, imported in imports)
    arrows = {(importer, imported) for importer, imported in between_rooms if importer != imported}
    rooms = {room(module, package) for module in files}
    largest = max(len(graph.find_children(folder) & files) for folder in folders if folder.startswith(package))
    return len(files), len(rooms), len(arrows), circles(files, imports), circles(rooms, arrows), largest


def room(module: str, package: str) -> str:
    """The room of a package that a module belongs to."""
    return module.removeprefix(f"{package}.").partition(".")[0]


def circles(names: Iterable[str], arrows: Iterable[Arrow]) -> int:
    """How many sets of two names or more can all be reached from each other."""
    numbers = {name: number for number, name in enumerate(sorted(names))}
    pairs = np.array([(numbers[start], numbers[end]) for start, end in arrows]).reshape(-1, 2)
    matrix = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(numbers), len(numbers)))
    _, labels = connected_components(matrix, connection="strong")
    return int((np.bincount(labels) > 1).sum())


if __name__ == "__main__":
    main()
