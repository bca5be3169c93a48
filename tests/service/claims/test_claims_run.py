"""`make claims QUICK=1` on a smaller drawn world: stopped in the middle, resumed, its table and its page."""

import html
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from watchmove.service.claims.measurement import ClaimsRecord

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

SMALLER = (
    "world.videos=6",
    "world.train_images=12",
    "world.test_images=6",
    "pretrain.iterations=2",
    "pretrain.batch_size=4",
    "evaluate.detector.iterations=2",
    "evaluate.detector.shorter_side_pixels=96",
    "evaluate.detector.longer_side_pixels=160",
    "evaluate.detector.proposals.mode=single",
    "evaluate.detector.proposals.longer_side_pixels=96",
)
CLAIMS = {
    *("motion-is-enough", "beats-its-teacher", "beats-random", "on-par-with-others", "stable-when-frozen"),
    *("not-the-frames", "true-masks-better", "labels-better", "more-frames-better"),
}


def command(*arguments: str) -> list[str]:
    """The command line, which writes below the working directory."""
    settings = [word for change in SMALLER for word in ("--set", change)]
    return [sys.executable, "-m", "watchmove", "claims", "--quick", *settings, *arguments]


def finished_cells(folder: Path) -> dict[str, int]:
    """The cells that have a record, and when it was written."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("out/claims/quick/store/claims/*/cells/*.json")}


def test_quick_claims_are_stopped_and_resumed(tmp_path: Path) -> None:
    """SIGTERM ends all processes with 143; the next call does the other cells only, and makes table and page."""
    process = subprocess.Popen(command(), cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while len(finished_cells(tmp_path)) < 4 and process.poll() is None:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    before = finished_cells(tmp_path)
    done = subprocess.run(command(), cwd=tmp_path, capture_output=True, text=True, check=False)
    after = finished_cells(tmp_path)

    assert process.returncode == 143, errors
    assert done.returncode == 0, done.stderr
    assert before.items() <= after.items()
    [record] = tmp_path.glob("out/claims/quick/store/claims/*/claims.json")
    found = ClaimsRecord.model_validate_json(record.read_bytes())
    page = html.unescape(record.with_suffix(".html").read_text())
    assert {claim.name for claim in found.claims} == CLAIMS
    assert all(claim.comparisons for claim in found.claims)
    assert {f"{name}.json" for name in found.seconds} == after.keys()
    assert "masks against random" in done.stdout
    assert f"page: file://{record.with_suffix('.html')}" in done.stdout
    assert all(claim.text in page for claim in found.claims)
    assert page.count("data:image/svg+xml") == 3
    assert page.count("data:image/jpeg") == len(re.findall("IoU with the truth .* of the network", page)) >= 1
    assert re.search(r'(src|href)="(?!data:)', page) is None

    listed = subprocess.run(command("--outputs", "lists"), cwd=tmp_path, check=False)
    stages = ("frames", "pretrain", "detect", "page")
    numbers = [number for stage in stages for number in json.loads((tmp_path / "lists" / stage).read_text())]
    assert listed.returncode == 0
    assert numbers == list(range(len(after) + 1))
    more = subprocess.run(command("--outputs", "more", "--seeds", "5"), cwd=tmp_path, check=False)
    assert more.returncode == 0
    two, five = (len(json.loads((tmp_path / name / "pretrain").read_text())) for name in ("lists", "more"))
    assert two / 2 == five / 5 == len(found.sizes)
    beyond = subprocess.run(command("--cell", "900"), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert beyond.returncode == 65
    assert f"cell 900: the series has {len(after) + 1}" in beyond.stderr


def test_the_real_world_needs_all_its_places() -> None:
    """One of three is a mistake, and not the drawn world."""
    done = subprocess.run(command("--videos", "clips"), capture_output=True, text=True, check=False)

    assert done.returncode == 65
    assert "--frames" in done.stderr
