"""Two hundred corrupted files with names of videos, drawn from a seed."""

import random
import subprocess
from collections.abc import Callable
from pathlib import Path

from watchmove.pipeline.video.encoder import write_video
from watchmove.pipeline.video.ffmpeg_commands import ffmpeg_executable
from watchmove.pipeline.world.video import moving_square

_SUFFIXES = (".mp4", ".mkv", ".avi")
_TEXTS = (
    b"this is no video\n",
    b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    b'{"Code": "NoSuchKey"}',
    b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
    b"ffconcat version 1.0\nfile '/etc/passwd'\n",
)

Corrupt = Callable[[random.Random, bytes], bytes]


def write_corrupted(folder: Path, seed: int) -> int:
    """Write all files, and return their number."""
    folder.mkdir(parents=True, exist_ok=True)
    dice = random.Random(seed)
    bases = {suffix: _base(folder, suffix) for suffix in _SUFFIXES}
    kinds: tuple[tuple[str, int, Corrupt], ...] = (
        ("truncated", 60, lambda dice, data: data[: dice.randrange(1, len(data))]),
        ("flipped", 90, _flipped),
        ("text", 15, lambda dice, _: dice.choice(_TEXTS) * dice.randrange(1, 200)),
        ("random", 15, lambda dice, data: dice.randbytes(len(data))),
        ("empty", 9, lambda _, __: b""),
    )
    for kind, count, corrupt in kinds:
        for number in range(count):
            suffix = dice.choice(_SUFFIXES)
            (folder / f"{kind}-{number:02d}{suffix}").write_bytes(corrupt(dice, bases[suffix]))
    for number in range(9):
        (folder / f"huge-{number}.avi").write_bytes(_huge(dice, bases[".avi"]))
    _million_tiny_frames(folder / "tiny.mkv")
    _hour_of_black(folder / "black.mp4")
    return sum(count for _, count, _ in kinds) + 11


def _base(folder: Path, suffix: str) -> bytes:
    path = folder / f"base{suffix}"
    write_video(path, moving_square((3, 0), 10, height=96, width=128, side_pixels=28).frames, 24.0)
    data = path.read_bytes()
    path.unlink()
    return data


def _flipped(dice: random.Random, data: bytes) -> bytes:
    """Flip from one to a thousand bits anywhere."""
    corrupted = bytearray(data)
    for _ in range(dice.choice((1, 4, 30, 200, 1000))):
        corrupted[dice.randrange(len(corrupted))] ^= 1 << dice.randrange(8)
    return bytes(corrupted)


def _huge(dice: random.Random, avi: bytes) -> bytes:
    """A file with a header, of an AVI or of raw video, that claims frames of 100,000 x 100,000 pixels."""
    if dice.random() < 0.5:
        return b"YUV4MPEG2 W100000 H100000 F25:1 Ip A1:1 C420jpeg\nFRAME\n" + bytes(dice.randrange(10_000))
    size, claimed = (b"".join(n.to_bytes(4, "little") for n in pair) for pair in ((128, 96), (100_000, 100_000)))
    assert avi.count(size) >= 2
    return avi.replace(size, claimed)


def _million_tiny_frames(path: Path) -> None:
    frame = b"FRAME\n" + bytes((100, 120, 90, 80, 128, 128))
    path.write_bytes(b"YUV4MPEG2 W2 H2 F25:1 Ip A1:1 C420jpeg\n" + frame * 1_000_000)


def _hour_of_black(path: Path) -> None:
    source = ("-f", "lavfi", "-i", "color=black:s=64x48:r=24", "-t", "3600")
    encode = ("-c:v", "libx264", "-preset", "ultrafast", "-threads", "1")
    subprocess.run([ffmpeg_executable(), "-loglevel", "error", *source, *encode, str(path)], check=True)
