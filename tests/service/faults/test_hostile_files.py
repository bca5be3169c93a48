"""Files that are broken, or that were made to hurt: each costs its own outcome and nothing else."""

import json
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.service.faults.conftest import Undisturbed
from tests.service.faults.corpus import Frames, committed, draw, extracted, planned, words
from tests.service.faults.corrupted import write_corrupted
from watchmove.pipeline.errors import UnreadableVideo
from watchmove.pipeline.extraction.pruning import REJECT_REASONS
from watchmove.pipeline.video.decoder_log import UNREADABLE_REASONS
from watchmove.pipeline.video.ffmpeg import VideoReader
from watchmove.pipeline.video.ffmpeg_commands import ffmpeg_executable
from watchmove.service.records.outcomes import WORKER_REASONS

pytestmark = pytest.mark.serial

LIMIT_SECONDS = 60
ALL_SECONDS = 400


@pytest.mark.timeout(900)
def test_two_hundred_corrupted_videos(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """Among good ones: every one ends as an outcome of the closed lists, none by crashing its worker, all in time."""
    draw(tmp_path / "videos")
    count = write_corrupted(tmp_path / "videos", seed=11)
    limits = (f"work.video_timeout_seconds={LIMIT_SECONDS}", "work.commit_every_seconds=10")
    words_of_run = words(f"file://{tmp_path}/videos", f"file://{tmp_path}/store", "plan.max_shard_videos=1000", *limits)
    planned(words_of_run)
    began = time.monotonic()
    code = extracted(words_of_run)
    seconds = time.monotonic() - began
    result = committed(words_of_run, tmp_path)
    spoilt = {key: end for key, end in result.ended.items() if key not in undisturbed.committed.ended}
    print(f"{seconds:.0f} s: {Counter(spoilt.values())}")

    assert code == 0
    assert count == len(spoilt) == 200
    assert seconds < ALL_SECONDS
    assert {reason for _, reason in spoilt.values()} <= {"", *REJECT_REASONS, *UNREADABLE_REASONS, *WORKER_REASONS}
    assert "crashed" not in {reason for _, reason in spoilt.values()}
    assert {key: result.ended[key] for key in undisturbed.committed.ended} == undisturbed.committed.ended
    assert pictures(result.frames).items() >= pictures(undisturbed.committed.frames).items()


def pictures(frames: Frames) -> dict[tuple[str, int], tuple[bytes, bytes]]:
    """JPEG and mask by the video's key and the frame's number: a file's id changes with its time, these do not."""
    facts = [(json.loads(text), jpeg, mask) for jpeg, mask, text in frames.values()]
    return {(fact["video"], fact["frame"]): (jpeg, mask) for fact, jpeg, mask in facts}


@pytest.fixture
def visits() -> Iterator[tuple[str, list[str]]]:
    """A web server, and what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Take note, and serve nothing."""
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, format: str, *args: object) -> None:
            """Tests print what matters."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()
    server.server_close()


def playlists(url: str) -> dict[str, str]:
    """Files that name other files, as players know them."""
    m3u8 = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{0}\n#EXT-X-ENDLIST\n"
    namespace = 'xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"'
    dash = f"<MPD {namespace}><Period><AdaptationSet>{{0}}</AdaptationSet></Period></MPD>"
    representation = f'<Representation id="1" mimeType="video/mp4"><BaseURL>{url}/dash.mp4</BaseURL></Representation>'
    return {
        "hls-http.m3u8": m3u8.format(f"{url}/hls.ts"),
        "hls-http.mp4": m3u8.format(f"{url}/hls.ts"),
        "hls-file.mp4": m3u8.format("/etc/passwd"),
        "concat-http.mp4": f"ffconcat version 1.0\nfile '{url}/concat.mp4'\n",
        "concat-file.mp4": "ffconcat version 1.0\nfile '/etc/passwd'\n",
        "concat-video.mp4": "ffconcat version 1.0\nfile 'good.mp4'\n",
        "dash.mpd": dash.format(representation),
        "session.sdp": "v=0\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    }


def test_playlists_open_nothing(visits: tuple[str, list[str]], corpus: Path, tmp_path: Path) -> None:
    """None is taken for a video, not even where it names a good one beside it, and nobody is asked for anything."""
    url, asked = visits
    (tmp_path / "good.mp4").write_bytes((corpus / "0.mp4").read_bytes())
    for name, text in playlists(url).items():
        (tmp_path / name).write_text(text)
        with pytest.raises(UnreadableVideo) as refused, VideoReader(tmp_path / name) as reader:
            next(iter(reader))
        assert refused.value.reason == "not-a-video", name

    assert asked == []


def test_an_open_decoder_would_ask(visits: tuple[str, list[str]], tmp_path: Path) -> None:
    """The same playlist, given to the same program without our restrictions, does reach the server."""
    url, asked = visits
    path = tmp_path / "hls.m3u8"
    path.write_text(playlists(url)["hls-http.m3u8"])
    subprocess.run(
        [ffmpeg_executable(), "-protocol_whitelist", "file,http,tcp", "-i", str(path), "-f", "null", "-"],
        check=False,
        capture_output=True,
        timeout=60,
    )

    assert "/hls.ts" in asked
