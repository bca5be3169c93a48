"""The checks of ffmpeg: a good one passes, and one that is old, incomplete, absent or wrong does not."""

from pathlib import Path

import numpy as np
import pytest

from tests.pipeline.video.gpu_stand_in import Fault, GpuStandIn
from watchmove.service.settings.loading import LAPTOP, load_settings
from watchmove.service.watching.checks import State
from watchmove.service.watching.decoder_checks import codecs_check, decoder_checks, frames_check, version_check

SETTINGS = load_settings(LAPTOP)


def test_the_decoder_of_this_machine_passes() -> None:
    """The drawn video comes back with its colours."""
    checks = {check.name: check for check in decoder_checks(SETTINGS)}

    assert list(checks) == ["ffmpeg", "codecs", "decoding"]
    assert checks["ffmpeg"].state is checks["decoding"].state is State.OK


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("ffmpeg version 4.4.2-0ubuntu0.22.04.1 Copyright", State.FAILED),
        ("ffmpeg version 5.0 Copyright", State.FAILED),
        ("ffmpeg version 5.1.6-0+deb12u1 Copyright", State.OK),
        ("ffmpeg version n7.1 Copyright", State.OK),
        ("ffmpeg version N-118448-g43be8d0728 Copyright", State.OK),
    ],
)
def test_versions_before_5_1_fail(said: str, state: State) -> None:
    """A development build has no number, and is newer."""
    assert version_check("/usr/bin/ffmpeg", said).state is state


def test_missing_codecs_are_named() -> None:
    """AV1 needs a decoder that works without a GPU."""
    check = codecs_check({"h264", "hevc", "vp8", "vp9", "av1", "mpeg1video", "mpeg2video", "mpeg4", "h263", "mjpeg"})

    assert check.state is State.WARNING
    assert check.finding.endswith(": AV1, ProRes, DV, Theora, Windows Media Video")


@pytest.mark.parametrize(
    ("program", "states"),
    [
        ("#!/bin/sh\nexit 1\n", [State.FAILED, State.NOT_CHECKED, State.NOT_CHECKED]),
        ("#!/bin/sh\necho ffmpeg version 7.1\necho ' V....D h264 '\n", [State.OK, State.WARNING, State.FAILED]),
        (
            '#!/bin/sh\ncase "$*" in *version|*decoders) echo ffmpeg version 7.1;; *) exit 1;; esac\n',
            [State.OK, State.WARNING, State.WARNING],
        ),
    ],
    ids=["does not start", "decodes nothing", "writes nothing"],
)
def test_a_broken_ffmpeg_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, states: list[State]
) -> None:
    """Each check that is not made says why."""
    (tmp_path / "ffmpeg").write_text(program)
    (tmp_path / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    checks = list(decoder_checks(SETTINGS))

    assert [check.state for check in checks] == states
    assert all(check.finding for check in checks)


@pytest.mark.parametrize(("fault", "state"), [("", State.OK), ("no GPU", State.WARNING)])
def test_decoding_by_hardware_is_checked_where_it_is_asked_for(
    fault: Fault, state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it the CPU decodes, so that it is a warning, whose remedy is for containers and for machines."""
    GpuStandIn(tmp_path, monkeypatch, fault)
    asked = load_settings(LAPTOP, ["extract.device=torch-cpu", "extract.hardware_decoding=true"])
    checks = {check.name: check for check in decoder_checks(asked)}

    assert list(checks) == ["ffmpeg", "codecs", "decoding", "hardware decoding"]
    assert checks["decoding"].state is State.OK
    assert checks["hardware decoding"].state is state
    assert ("NVIDIA_DRIVER_CAPABILITIES" in checks["hardware decoding"].remedy) == bool(fault)


def test_wrong_frames_fail() -> None:
    """Too few frames, or red and blue exchanged."""
    side = SETTINGS.extract.shorter_side_pixels
    frame = np.full((side, 2 * side, 3), 60, np.uint8)
    frame[:, :side, 2] = frame[:, side:, 0] = 200
    exchanged = frames_check([frame] * 4, SETTINGS.extract)
    right = frames_check([frame[..., ::-1]] * 4, SETTINGS.extract)
    few = frames_check([frame[..., ::-1]] * 3, SETTINGS.extract)

    assert [check.state for check in (exchanged, right, few)] == [State.FAILED, State.OK, State.FAILED]
    assert "140 of 255" in exchanged.finding
