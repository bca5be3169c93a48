"""Folders in the place of files and files in that of folders: every command ends with 65 and one clear line."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from watchmove.service.cli.main import app


@pytest.fixture
def places(tmp_path: Path) -> Path:
    """A file, an empty folder, a folder of frames, and folders in which a folder has the place of a file."""
    (tmp_path / "file").write_text("x")
    frames = [np.random.default_rng(number).integers(0, 255, (60, 80, 3), np.uint8) for number in range(4)]
    for folder in ("frames", "davis/JPEGImages/s", "torn/JPEGImages/s"):
        (tmp_path / folder).mkdir(parents=True)
        for number, frame in enumerate(frames):
            cv2.imwrite(str(tmp_path / folder / f"{number}.png"), frame)
    for folder in (
        "folder", "out/frames.jsonl", "mask/0.png", "davis/Annotations/s/0.png", "list/l.csv", "videos",
        "det/comp4_det_test_cat.txt", "voc/Annotations/a.xml", "voc2/ImageSets/Main/test.txt", "voc2/Annotations",
        "store/runs/r/plan.json", "store/runs/r/result.json",
    ):  # fmt: skip
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "torn/Annotations/s").mkdir(parents=True)
    (tmp_path / "torn/Annotations/s/0.png").write_bytes(b"junk")
    (tmp_path / "good").mkdir()
    (tmp_path / "good/comp4_det_test_cat.txt").write_text("")
    (tmp_path / "videos/v.mp4").write_bytes(b"x")
    (tmp_path / "loop").symlink_to("loop")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("settings --settings HERE/folder", "cannot be read"),
        ("segment HERE/folder --out HERE/o", "contains no image"),
        ("segment HERE/frames --out HERE/file", "is a file"),
        ("segment HERE/loop --out HERE/o", "no such file or folder"),
        (f"segment HERE/{'n' * 300} --out HERE/o", "File name too long"),
        (f"score --voc HERE/{'n' * 300} --detections HERE/good", "File name too long"),
        ("segment HERE/frames --out HERE/out", "frames.jsonl: cannot be replaced"),
        ("segment HERE/frames --out HERE/mask", "0.png: could not be written"),
        ("segment HERE/frames --out HERE/o --motion-network HERE/folder", "no safetensors file"),
        ("bench masks --davis HERE/file", "has no JPEGImages"),
        ("bench masks --davis HERE/davis", "0.png: not an image"),
        ("bench masks --davis HERE/torn", "0.png: not an image"),
        ("score --voc HERE/voc --detections HERE/file", "no comp4_det_SPLIT_CLASS.txt here"),
        ("score --voc HERE/voc --detections HERE/det", "comp4_det_test_cat.txt: not a file"),
        ("score --voc HERE/voc --detections HERE/good", "a.xml: is a folder"),
        ("score --voc HERE/voc2 --detections HERE/good", "test.txt: is a folder"),
        ("score --voc HERE/file --detections HERE/good", "no Annotations/*.xml here"),
        ("import-coco --run r1 --annotations HERE/folder --images HERE/folder", "cannot be read"),
        ("import-coco --run r1 --annotations HERE/file --images HERE/file", "is a file; name the folder of the images"),
        ("import-coco --run r1 --annotations HERE/file --images HERE/none", "no such folder; name the folder of"),
        ("plan --run p --set videos=file://HERE/file", "no video there"),
        ("plan --run p --set videos=file://HERE/videos --set plan.manifest=file://HERE/list/l.csv", "no such file"),
        ("plan --run p --set videos=file://HERE/videos --outputs HERE/file", "could not be written"),
        ("plan --run p --set videos=file://HERE/videos --set store=file://HERE/file", "Not a directory"),
        ("plan --run p --set videos=file://HERE/videos --set work.scratch=HERE/file", "Not a directory"),
        ("world --set videos=file://HERE/file", "File exists"),
        ("run --videos HERE/videos --voc HERE/file", "no detection set there"),
        ("gather --run r", "not there"),
        ("status r", "has no record of it"),
        ("results r", "has no record of it"),
        ("why r v.mp4", "has no record of it"),
    ],
)
def test_a_folder_in_a_files_place_ends_with_65(places: Path, words: str, message: str) -> None:
    """The line names what is in the wrong place."""
    needs_store = words.split()[0] not in ("settings", "segment", "bench", "score") and "store=" not in words
    more = ["--set", f"store=file://{places}/store"] if needs_store else []
    done = CliRunner().invoke(app, [*words.replace("HERE", str(places)).split(), *more])

    assert (done.exit_code, "Traceback" in done.stderr) == (65, False)
    assert message in done.stderr.splitlines()[-1]
