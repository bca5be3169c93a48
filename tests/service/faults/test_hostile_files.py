"""Corrupted and malicious files: each affects only its own outcome."""

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
from watchmove.pipeline.errors import UNREADABLE_REASONS, UnreadableVideo
from watchmove.pipeline.extraction.pruning import REJECT_REASONS
from watchmove.pipeline.video.ffmpeg import VideoReader
from watchmove.pipeline.video.ffmpeg_commands import ffmpeg_executable
from watchmove.service.records.outcomes import WORKER_REASONS

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

LIMIT_SECONDS = 60
"""Time limit of one video. Set by hand."""
ALL_SECONDS = 400
"""Time limit of the whole extraction, far below a minute for each corrupted file. Set by hand."""


def test_two_hundred_corrupted_videos(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """Among good videos, every corrupted one ends in time with a known outcome, and none crashes its worker."""
    draw(tmp_path / "videos")
    count = write_corrupted(tmp_path / "videos", seed=11)
    limits = (f"work.video_timeout_seconds={LIMIT_SECONDS}", "work.commit_every_seconds=10")
    words_of_run = words(f"file://{tmp_path}/videos", f"file://{tmp_path}/store", "plan.max_shard_videos=1000", *limits)
    planned(words_of_run)
    began = time.monotonic()
    code = extracted(words_of_run)
    seconds = time.monotonic() - began
    result = committed(words_of_run, tmp_path)
    corrupted = {key: end for key, end in result.ended.items() if key not in undisturbed.committed.ended}
    print(f"{seconds:.0f} s: {Counter(corrupted.values())}")

    assert code == 0
    assert count == len(corrupted) == 200
    assert seconds < ALL_SECONDS
    assert {reason for _, reason in corrupted.values()} <= {"", *REJECT_REASONS, *UNREADABLE_REASONS, *WORKER_REASONS}
    assert "crashed" not in {reason for _, reason in corrupted.values()}
    assert {key: result.ended[key] for key in undisturbed.committed.ended} == undisturbed.committed.ended
    assert images_and_masks(result.frames).items() >= images_and_masks(undisturbed.committed.frames).items()


def images_and_masks(frames: Frames) -> dict[tuple[str, int], tuple[bytes, bytes]]:
    """JPEG and mask by the video's key and the frame's number, as a video's id depends on its file's time."""
    facts = [(json.loads(text), jpeg, mask) for jpeg, mask, text, _ in frames.values()]
    return {(fact["video"], fact["frame"]): (jpeg, mask) for fact, jpeg, mask in facts}


@pytest.fixture
def visits() -> Iterator[tuple[str, list[str]]]:
    """The URL of a web server, and the paths of the requests that it received."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Record the path, and serve nothing."""
            paths.append(self.path)
            self.send_error(404)

        def log_message(self, format: str, *args: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", paths
    server.shutdown()
    server.server_close()


def playlists(url: str) -> dict[str, str]:
    """Playlists that name other files, in the formats that ffmpeg knows, by their names."""
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
    """A playlist is never taken for a video, even if it names a good one next to it, and no request is made."""
    url, paths = visits
    (tmp_path / "good.mp4").write_bytes((corpus / "0.mp4").read_bytes())
    for name, text in playlists(url).items():
        (tmp_path / name).write_text(text)
        with pytest.raises(UnreadableVideo) as refused, VideoReader(tmp_path / name) as reader:
            next(iter(reader))
        assert refused.value.reason == "not-a-video", name

    assert paths == []


def test_an_unrestricted_decoder_sends_a_request(visits: tuple[str, list[str]], tmp_path: Path) -> None:
    """The same program without the restrictions reaches the server, so the test above can fail."""
    url, paths = visits
    path = tmp_path / "hls.m3u8"
    path.write_text(playlists(url)["hls-http.m3u8"])
    subprocess.run(
        [ffmpeg_executable(), "-protocol_whitelist", "file,http,tcp", "-i", str(path), "-f", "null", "-"],
        check=False,
        capture_output=True,
        timeout=60,
    )

    assert "/hls.ts" in paths
