"""The lists of images in PASCAL VOC's layout, ImageSets/Main/SPLIT.txt: one id a line, or lines of a class's list."""

from pathlib import Path

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.text_lines import BLANKS, text_lines

_CLASS_FLAGS = ("1", "-1", "0", "+1")
"""What follows an id in a list of one class: the class is in the image, is not, or only as a difficult object."""
_LONGEST_NAME_BYTES = 255
"""Longest name of a file that Linux's file systems allow."""


def split_names(root: Path) -> tuple[str, ...]:
    """Names of the lists in ImageSets/Main/, in order; none where the folder is missing."""
    return tuple(sorted(path.stem for path in (root / "ImageSets" / "Main").glob("*.txt")))


def listed_ids(root: Path, annotations: Path, split: str) -> list[str]:
    """Ids of one list, each once; lists of one class (`ID 1`, `ID -1`, `ID 0`) name their images too.

    An id may itself end as a line of a class's list does. Whether a list is one of a class is decided for all of its
    lines together: all of them end in a flag, and they are not all names of annotations.

    Raises:
        InvalidInput: there is no such list, it is not UTF-8 text, or lists no image.
    """
    path = root / "ImageSets" / "Main" / f"{split}.txt"
    if not path.is_file():
        known = ", ".join(split_names(root)) or "none"
        state = "is a folder" if path.is_dir() else "no such list"
        raise InvalidInput(f"{path}: {state}; lists there: {known}")
    lines = [line for line in text_lines(path, "give one id a line") if line]
    if not lines:
        raise InvalidInput(f"{path}: lists no image; give one id a line")
    return list(dict.fromkeys(_of_class_list(annotations, lines) or lines))


def _of_class_list(annotations: Path, lines: list[str]) -> list[str]:
    """The ids of a class's list; empty where the lines are not those of one, but ids."""
    parts = [_parted(line) for line in lines]
    if any(flag not in _CLASS_FLAGS for _, flag in parts):
        return []
    heads = [head for head, _ in parts]
    known = [_has_annotation(annotations, line) for line in lines]
    if not any(known):
        return heads
    # some lines are names of annotations: those of a class's list may be too, where all of its ids have annotations
    # and none is repeated
    is_class_list = len(set(heads)) == len(set(lines)) and all(_has_annotation(annotations, head) for head in heads)
    return heads if is_class_list and not all(known) else []


def _parted(line: str) -> tuple[str, str]:
    """A line without its last word, and that word; the word is empty where there is only one."""
    for at in range(len(line) - 1, 0, -1):
        if line[at] in BLANKS:
            return line[:at].rstrip(BLANKS), line[at + 1 :]
    return line, ""


def annotation_path(annotations: Path, image_id: str) -> Path:
    """The place of an annotation.

    Raises:
        InvalidInput: the id would leave the folder of the annotations, or is no file name.
    """
    name = f"{image_id}.xml"
    is_name = "\0" not in name and all(len(part.encode()) <= _LONGEST_NAME_BYTES for part in Path(name).parts)
    if not is_name or ".." in Path(image_id).parts or Path(image_id).is_absolute():
        raise InvalidInput(f"{annotations}: {image_id[:80]!r} is no id of an image there; take it off the list")
    path = annotations / name
    capital = path.with_name(f"{path.stem}.XML")
    return capital if not path.exists() and capital.is_file() else path


def _has_annotation(annotations: Path, image_id: str) -> bool:
    """Whether an id has an annotation; one that is no file's name has none."""
    try:
        return annotation_path(annotations, image_id).is_file()
    except InvalidInput:
        return False
