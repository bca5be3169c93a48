"""What a power cut leaves of a program's files: names and bytes that were not synchronised may be lost, in any mixture.

A recorder in C, preloaded into the program, writes down what it does to files below a folder. Replayed up to any call,
the record gives the states in which a disk may then be: POSIX promises no more than that a file's bytes are there after
the file was synchronised, and a name after its folder was.
"""

import os
import random
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_SOURCE = Path(__file__).with_name("recorder.c")


class Call(NamedTuple):
    """One recorded call; its words are explained at the top of recorder.c."""

    word: str
    path: Path
    other: Path


class File:
    """`seen`: what it held when it was named; `synchronised`: what a power cut leaves, None if that may be anything."""

    def __init__(self, synchronised: bytes | None = None) -> None:
        self.seen = synchronised or b""
        self.synchronised = synchronised


Entries = dict[str, "File | Folder"]
Change = dict[str, "File | Folder | None"]


class Folder:
    """`entries`: what the program sees; `synchronised`: what is certainly on disk; `pending`: changes since then."""

    def __init__(self) -> None:
        self.entries: Entries = {}
        self.synchronised: Entries = {}
        self.pending: list[Change] = []

    def change(self, change: Change) -> None:
        """Name or remove entries, in one step."""
        _apply(self.entries, change)
        self.pending.append(change)

    def synchronise(self) -> None:
        """Put all changes on disk."""
        self.synchronised = dict(self.entries)
        self.pending.clear()


def compiled(folder: Path) -> Path:
    """Compile the recorder, and return the path of the library."""
    library = folder / "recorder.so"
    line = ["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o", str(library), str(_SOURCE)]
    subprocess.run([*line, "-ldl", "-lpthread"], check=True)
    return library


def recorded(library: Path, folder: Path, log: Path, line: Sequence[str]) -> list[Call]:
    """Run a program to its end, and return what it did to files below `folder`, in order."""
    environment = {"LD_PRELOAD": str(library), "RECORDED_FOLDER": str(folder), "RECORDED_LOG": str(log)}
    subprocess.run(line, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1", **environment})
    rows = [row.split("\t") for row in log.read_text().splitlines()]
    return [Call(row[0], Path(row[1]), Path(row[2] if len(row) > 2 else "")) for row in rows]


class Disk:
    """The files below a folder, as they were before a program was recorded, and then call by call.

    `before`: a copy of the folder from that time, all of which is on disk.
    """

    def __init__(self, before: Path, folder: Path) -> None:
        self._folder = folder
        self._root = _read(before)

    def replay(self, call: Call) -> None:
        """Do to the model what the program did to the files."""
        if call.word == "syncfolder":
            self._folder_at(call.path).synchronise()
            return
        parent, name = self._folder_at(call.path.parent), call.path.name
        entry = parent.entries.get(name)
        if call.word in ("named", "sync"):
            assert isinstance(entry, File)
            entry.seen = call.other.read_bytes()
            entry.synchronised = entry.seen if call.word == "sync" else entry.synchronised
        elif call.word in ("rename", "link"):
            assert entry is not None
            taken: Change = {name: None} if call.word == "rename" else {}
            target = self._folder_at(call.other.parent)
            if target is parent:
                parent.change({**taken, call.other.name: entry})
            else:
                target.change({call.other.name: entry})
                parent.change(taken)
        else:
            made: dict[str, File | Folder | None] = {"make": File(), "folder": Folder()}
            parent.change({name: made.get(call.word)})

    def cut(self, target: Path, kept: float, chance: random.Random) -> None:
        """Write to `target` what a power cut may leave; `kept`: the probability of each change that is not certain.

        A file that was not synchronised is empty, half or whole.
        """
        _write(self._root, target, kept, chance)

    def _folder_at(self, path: Path) -> Folder:
        folder = self._root
        for name in path.relative_to(self._folder).parts:
            entry = folder.entries[name]
            assert isinstance(entry, Folder)
            folder = entry
        return folder


def _read(path: Path) -> Folder:
    folder = Folder()
    for child in path.iterdir():
        folder.entries[child.name] = _read(child) if child.is_dir() else File(child.read_bytes())
    folder.synchronise()
    return folder


def _apply(entries: Entries, change: Change) -> None:
    for name, entry in change.items():
        if entry is None:
            entries.pop(name, None)
        else:
            entries[name] = entry


def _write(folder: Folder, target: Path, kept: float, chance: random.Random) -> None:
    entries = dict(folder.synchronised)
    for change in folder.pending:
        if chance.random() < kept:
            _apply(entries, change)
    target.mkdir()
    for name, entry in entries.items():
        if isinstance(entry, Folder):
            _write(entry, target / name, kept, chance)
        elif entry.synchronised is not None:
            (target / name).write_bytes(entry.synchronised)
        else:
            (target / name).write_bytes(entry.seen[: len(entry.seen) * chance.randrange(3) // 2])
