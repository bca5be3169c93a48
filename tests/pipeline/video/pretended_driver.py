"""NVIDIA's driver for machines without one: libraries that ffmpeg loads when it decodes by NVDEC."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from watchmove.pipeline.video.ffmpeg_commands import ffmpeg_executable

_SOURCE = Path(__file__).with_suffix(".c")
_FUNCTION = re.compile(rb"\0(cu(?:vid)?[A-Z][A-Za-z0-9]*(?:_v\d)?)(?=\0)")
"""A name of a function of the driver in the program of ffmpeg, which refuses libraries that lack one of them."""


class PretendedDriver:
    """The libraries on the search path of the process, and functions that change what they do."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Compile them into a folder; the test is skipped where that is not possible."""
        if sys.platform != "linux" or sys.maxsize < 2**32 or not shutil.which("gcc"):
            pytest.skip("NVIDIA's driver is pretended with gcc on 64-bit Linux only")
        self._folder, self._monkeypatch = folder, monkeypatch
        program = Path(ffmpeg_executable()).read_bytes()
        names = {name.decode() for name in _FUNCTION.findall(program)}
        if "cuvidDecodePicture" not in names:
            pytest.skip("this ffmpeg cannot decode by NVDEC")
        own = set(re.findall(r"^int (cu\w+)\(", _SOURCE.read_text(), re.MULTILINE))
        others = folder / "others.c"
        others.write_text("".join(f"int {name}(void) {{ return 0; }}\n" for name in sorted(names - own)))
        line = ["gcc", "-shared", "-fPIC", "-O1", "-o", str(folder / "libcuda.so.1"), str(_SOURCE), str(others)]
        subprocess.run(line, check=True)
        shutil.copy(folder / "libcuda.so.1", folder / "libnvcuvid.so.1")
        monkeypatch.setenv("LD_LIBRARY_PATH", str(folder), prepend=":")

    def lose_decoder(self) -> None:
        """The library of NVDEC is missing, as in a container without the capability `video`."""
        (self._folder / "libnvcuvid.so.1").write_bytes(b"")  # so that none is found elsewhere

    def fail_at(self, picture: int) -> None:
        """The picture with this number, in the order of decoding, is not decoded."""
        self._monkeypatch.setenv("PRETENDED_GPU_FAILS_AT", str(picture))
