"""What a killed process left in the scratch folder is removed; what a living one uses is not."""

import subprocess
import sys
from pathlib import Path

from service.leftovers import held, remove_abandoned


def test_abandoned_folders_are_removed_and_others_are_not(tmp_path: Path) -> None:
    """One folder's holder was killed, one's is this process, and one was never marked."""
    for name in ("watchmove-killed", "watchmove-living", "watchmove-unmarked"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "video.mp4").write_bytes(b"frames")
    code = (
        "import os, signal; from pathlib import Path; from service.leftovers import held; block = "
        f"held(Path({str(tmp_path / 'watchmove-killed')!r})); block.__enter__(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)

    assert len(list((tmp_path / "watchmove-killed").iterdir())) == 2
    with held(tmp_path / "watchmove-living"):
        assert remove_abandoned(tmp_path) == 1
        assert sorted(path.name for path in tmp_path.iterdir()) == ["watchmove-living", "watchmove-unmarked"]
    assert remove_abandoned(tmp_path) == 0
    assert [path.name for path in (tmp_path / "watchmove-living").iterdir()] == ["video.mp4"]
