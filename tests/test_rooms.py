"""The tree explains the system: who may import whom, how many rooms there are, and what each of them is."""

import ast
from pathlib import Path

import grimp
import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

from tests.bench.rooms import counted

ROOT = Path(__file__).parents[1]
MOST_ROOMS = 18
MOST_MODULES_IN_A_ROOM = 14
MOST_LINES_OF_A_MODULE = 250
MOST_LINES_OF_A_FUNCTION = 60
FOLDERS = sorted(path.parent for path in (ROOT / "watchmove").rglob("__init__.py"))


def test_imports_keep_the_order_of_the_rooms(monkeypatch: pytest.MonkeyPatch) -> None:
    """The contracts in pyproject.toml hold: layers of rooms, libraries that the science never imports, no circle."""
    monkeypatch.chdir(ROOT)

    assert lint_imports(config_filename="pyproject.toml", cache_dir=None) == EXIT_STATUS_SUCCESS


@pytest.mark.parametrize("package", ["watchmove.pipeline", "watchmove.service"])
def test_rooms_are_few_and_without_circles(package: str) -> None:
    """A stranger can hold the rooms of a package in mind, and read them from the ground up."""
    _, rooms, _, circles_of_files, circles_of_rooms, most_modules = counted(grimp.build_graph("watchmove"), package)

    assert rooms <= MOST_ROOMS
    assert most_modules <= MOST_MODULES_IN_A_ROOM
    assert circles_of_files == circles_of_rooms == 0


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_each_room_says_what_it_is(folder: Path) -> None:
    """`__init__.py` holds a docstring; only `settings` defines something, the class that all its sections share."""
    tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))

    assert ast.get_docstring(tree)
    assert len(tree.body) == 1 or folder.name == "settings"


def test_modules_and_functions_are_short() -> None:
    """What has to be read at once fits on a few screens."""
    modules = {path: path.read_text(encoding="utf-8") for path in (ROOT / "watchmove").rglob("*.py")}
    functions = {
        f"{path.name}: {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path, text in modules.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef)
    }

    assert len(functions) > 1000
    assert [path.name for path, text in modules.items() if text.count("\n") > MOST_LINES_OF_A_MODULE] == []
    assert [name for name, lines in functions.items() if lines > MOST_LINES_OF_A_FUNCTION] == []
