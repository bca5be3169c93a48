"""Draw the rooms of the package and their imports from the code itself: `python docs/draw_rooms.py`.

Rooms are in the layers of the contracts in pyproject.toml; an arrow leads from a room to one that it imports.
Arrows to the rooms that nearly every room imports are left out.
"""

import re
import tomllib
from pathlib import Path

import grimp
import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

ROOT = Path(__file__).parents[1]
FOLDER = Path(__file__).parent / "explanation" / "rooms"
IMPORTED_BY_NEARLY_ALL = {"arrays", "errors", "settings"}
WIDTH_INCHES = 9.0
LAYER_HEIGHT = 1.0
SMALLEST_BEND, BEND_FOR_EACH_LAYER = 0.03, 0.05
"""Longer arrows bend more, so that they pass beside the rooms between their ends."""


def main() -> None:
    """Write one drawing for each of the two packages."""
    FOLDER.mkdir(exist_ok=True)
    mpl.rcParams["svg.hashsalt"] = "watchmove"
    graph = grimp.build_graph("watchmove")
    for name in ("pipeline", "service"):
        package = f"watchmove.{name}"
        draw(layers_of(package), imports_of(graph, package), FOLDER / f"{name}.svg")


def layers_of(package: str) -> list[list[str]]:
    """The rooms of a package, layer by layer from the top, as the contract in pyproject.toml orders them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(contract["layers"] for contract in contracts if contract.get("containers") == [package])
    return [re.split(r" *[|:] *", layer) for layer in layers]


def imports_of(graph: grimp.ImportGraph, package: str) -> set[tuple[str, str]]:
    """Pairs of rooms (importer, imported) of which a module of the first imports a module of the second."""
    modules = graph.find_descendants(package)
    pairs = {
        (room_of(importer, package), room_of(imported, package))
        for importer in modules
        for imported in graph.find_modules_directly_imported_by(importer) & modules
    }
    return {(importer, imported) for importer, imported in pairs if importer != imported}


def room_of(module: str, package: str) -> str:
    """The name of the room to which a module belongs."""
    return module.removeprefix(f"{package}.").partition(".")[0]


def draw(layers: list[list[str]], imports: set[tuple[str, str]], path: Path) -> None:
    """Write an SVG file with a box for each room and an arrow for each pair of imports."""
    places = {
        room: ((position + 1) / (len(layer) + 1), -LAYER_HEIGHT * row)
        for row, layer in enumerate(layers)
        for position, room in enumerate(layer)
    }
    figure, axes = plt.subplots(figsize=(WIDTH_INCHES, LAYER_HEIGHT * len(layers)), layout="constrained")
    drawn = {(importer, imported) for importer in places for imported in places.keys() - IMPORTED_BY_NEARLY_ALL}
    for importer, imported in sorted(imports & drawn):
        draw_arrow(axes, places[importer], places[imported])
    for room, place in places.items():
        box = {"boxstyle": "round,pad=0.4", "facecolor": "white", "edgecolor": "#555"}
        axes.text(*place, room, ha="center", va="center", fontsize=11, bbox=box, zorder=3)
    axes.set(xlim=(0, 1), ylim=(-LAYER_HEIGHT * (len(layers) - 0.5), LAYER_HEIGHT / 2))
    axes.axis("off")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def draw_arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draw a bent arrow between two places of rooms."""
    bend = SMALLEST_BEND + BEND_FOR_EACH_LAYER * abs(start[1] - end[1]) / LAYER_HEIGHT
    style = {
        "arrowstyle": "->",
        "color": "#8a9bb5",
        "lw": 0.9,
        "connectionstyle": f"arc3,rad={bend}",
        "shrinkA": 12,
        "shrinkB": 12,
    }
    axes.annotate("", xy=end, xytext=start, arrowprops=style, zorder=1)


if __name__ == "__main__":
    main()
