"""A program `ffmpeg` for machines without a GPU: where `-hwaccel cuda` is asked for, it decodes on the CPU instead.

Its frames have the pixel format in which NVDEC gives them, nv12. What else a GPU could do wrong is chosen by `fault`.
"""

import shutil
import sys
from pathlib import Path
from typing import Literal

import pytest

from watchmove.pipeline.video.ffmpeg_commands import ffmpeg_executable

Fault = Literal["", "no GPU", "damaged copy", "grey"]

_PROGRAM = """#!{python} -S
import os, sys

fault, words = {fault!r}, sys.argv[1:]
if "-hwaccel" in words:
    with open({starts!r}, "a") as starts:
        starts.write("start\\n")
    if fault != "no GPU":
        at = words.index("-hwaccel")
        del words[at : at + 2]
    if fault == "damaged copy":
        words = [word + ".damaged" if word.startswith("file:") else word for word in words]
    elif fault != "no GPU":
        filters = "format=nv12," + ("hue=s=0," if fault == "grey" else "")
        words = [filters + word if before == "-vf" else word for before, word in zip(["", *words], words)]
os.execv({ffmpeg!r}, [{ffmpeg!r}, *words])
"""


class GpuStandIn:
    """The program on the search path; `starts` says how often it has been asked to decode by hardware."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault = "") -> None:
        self._starts = folder / "starts"
        self._starts.touch()
        real = ffmpeg_executable()
        program = _PROGRAM.format(python=sys.executable, fault=fault, starts=str(self._starts), ffmpeg=real)
        (folder / "ffmpeg").write_text(program)
        (folder / "ffmpeg").chmod(0o755)
        monkeypatch.setenv("PATH", str(folder), prepend=":")
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")  # also where there is a GPU, none is found
        assert shutil.which("ffmpeg") == str(folder / "ffmpeg")

    @property
    def starts(self) -> int:
        """How many processes were to decode by hardware."""
        return len(self._starts.read_text().splitlines())
