"""`watchmove show`: writes the folder with the page of a video, its pictures and its MP4."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from watchmove.pipeline.dataset.shard import Sample
from watchmove.pipeline.errors import InvalidInput, Unavailable, UnreadableVideo
from watchmove.pipeline.files.atomic import replacing_folder
from watchmove.service.explanation.answer import Answer, why
from watchmove.service.explanation.attempts import Attempt
from watchmove.service.explanation.frames import audited_samples, kept_samples
from watchmove.service.explanation.video_page.found_video import FoundVideo, find_video
from watchmove.service.explanation.video_page.movie import Caption, Movie, write_movie
from watchmove.service.explanation.video_page.page import GENERATOR, Shown, page_of
from watchmove.service.explanation.video_page.pictures import FOLDER, write_pictures
from watchmove.service.explanation.video_page.time_line import time_line
from watchmove.service.extraction.fetcher import local_name
from watchmove.service.extraction.recipe import with_local_weights
from watchmove.service.records.frame_verdicts import FrameVerdict
from watchmove.service.records.outcomes import FAILED, Video
from watchmove.service.records.run_settings import recorded_settings, settings_of_run
from watchmove.service.runner.runner import StepContext, interrupted_by_signals
from watchmove.service.settings.settings import Settings
from watchmove.service.store.opening import open_videos
from watchmove.service.store.store import ObjectChanged, ObjectRefused, StoredObject

PAGE, MOVIE = "index.html", "video.mp4"
_NAMES = {PAGE, MOVIE, FOLDER}
_HEAD_BYTES = 500
_LONGEST_NAME = 80
"""Most letters of a video's name in that of a folder. Set by hand."""


class Written(NamedTuple):
    """The paths of a page and of its MP4; the latter is None where there is none, and `without` says why."""

    page: Path
    movie: Path | None
    without: str


def show(context: StepContext, name: str, run: str, out: Path | None, *, movie: bool) -> Written:
    """Write the page of the video that `name` means into the folder `out`, by default `folder_name` in the current one.

    An earlier page at `out` is replaced once the other is complete. Without `movie`, the video is not read again.

    Raises:
        InvalidInput: no run lists the video, it is forgotten, a record is damaged, or `out` has other files.
        Unavailable: the store cannot be reached, or `out` cannot be written.
        Stopped: a signal has stopped the process, and nothing is written.
    """
    found = find_video(context.store, context.scratch, name, run)
    folder = out or Path(folder_name(found.shown.video))
    check_folder(folder)
    answer = why(context.store, context.scratch, found.shown.run, found.shown.video.id)
    with replacing_folder(folder.resolve()) as temporary:
        without = _write(context, found, answer, temporary, movie=movie)
        context.check_stop()
    return Written(folder / PAGE, None if without else folder / MOVIE, without)


def folder_name(video: Video) -> str:
    """The default folder of a video's page: the last part of its key in letters and digits of ASCII, `.`, `_` and `-`.

    Where that is not the whole key as it is, the video's id follows, so that no page of another video is replaced.
    """
    name = re.sub(r"[^A-Za-z0-9._-]", "_", video.key.rpartition("/")[2])[:_LONGEST_NAME]
    return f"show-{name}" if name == video.key else f"show-{name}-{video.id}"


def check_folder(folder: Path) -> None:
    """Raise InvalidInput if there is something at `folder` that is neither an earlier page nor an empty folder."""
    try:
        names = {path.name for path in folder.iterdir()}
        head = (folder / PAGE).open("rb").read(_HEAD_BYTES) if PAGE in names else b""
    except FileNotFoundError:
        return
    except OSError as error:
        raise InvalidInput(f"{folder}: cannot be used ({error.strerror}); name another folder with --out") from error
    if folder.resolve() in (Path.cwd(), *Path.cwd().parents):
        raise InvalidInput(f"{folder}: has the current folder, and would be replaced; name another folder with --out")
    if names and (GENERATOR.encode() not in head or names - _NAMES):
        raise InvalidInput(f"{folder}: has other files than a video's page; name another folder with --out")


def _write(context: StepContext, found: FoundVideo, answer: Answer, folder: Path, *, movie: bool) -> str:
    """Write all files into a folder, the page last, and return why there is no MP4; empty if there is one."""
    counts = found.shown.counts
    training = settings_of_run(context.store, found.shown.run).pretrain
    settings = recorded_settings((counts.part if counts else found.shown.plan).made_by, found.shown.run)
    verdicts = [frame.verdict for frame in answer.frames]
    seen = answer.record.frames_seen if answer.record else 0
    made, without = Movie(), "--no-video was given"
    if movie:
        caption = Caption({one.frame: one for one in verdicts}, seen, training.foreground_threshold)
        made, without = _movie(context, found, settings, caption, folder / MOVIE)
    if without:
        (folder / MOVIE).unlink(missing_ok=True)  # as of a video that ends in what cannot be decoded
    stored = write_pictures(folder, _samples(context, counts) if counts else (), training)
    cuts = made.cuts if _agree(made.cuts, verdicts) else []
    line = time_line(verdicts, seen, settings.extract, cuts) if found.shown.plan.masks_from == "motion" else None
    shown = Shown(
        found=found,
        answer=answer,
        settings=settings,
        training=training,
        stored=stored,
        line=line,
        movie="" if without else MOVIE,
        without_movie=without,
        ended_early=made.ended_early,
    )
    (folder / PAGE).write_bytes(page_of(shown).encode())
    return without


def _samples(context: StepContext, counts: Attempt) -> Iterator[Sample]:
    """All frames of an attempt that are stored with their picture, the kept ones first."""
    yield from kept_samples(context.store, counts)
    yield from audited_samples(context.store, counts, context.scratch)


def _agree(cuts: Sequence[int], verdicts: Sequence[FrameVerdict]) -> bool:
    """Whether shots that begin at `cuts` have the numbers of the record; where frames are damaged, they do not."""
    return bool(cuts) and all(bisect_right(cuts, one.frame) - 1 == one.shot for one in verdicts)


def _movie(
    context: StepContext, found: FoundVideo, settings: Settings, caption: Caption, path: Path
) -> tuple[Movie, str]:
    """Write the MP4, and return what came of it and why there is none; that is empty if there is one."""
    if found.shown.plan.masks_from != "motion":
        return Movie(), "its masks are annotations of images"
    if found.shown.counts is None:
        return Movie(), "it has not been extracted yet"
    row = found.shown.counts.row
    if row.outcome in FAILED:
        return Movie(), f"extraction could not read it ({row.reason})"
    try:
        made = _drawn(context, path, _fetched(context, settings, row.video), settings, caption)
    except UnreadableVideo as error:
        return Movie(), f"it cannot be decoded again ({error.reason})"
    except _UnreadError as error:
        return Movie(), str(error)
    return made, "" if made.frames else "no frame of it could be decoded again"


class _UnreadError(Exception):
    """The source of a video cannot be read again; the message says why."""


def _fetched(context: StepContext, settings: Settings, video: Video) -> Path:
    """A local file with the video, if it is still where it was, and unchanged."""
    most = context.settings.work.scratch_mebibytes
    item = StoredObject(video.key, video.size_bytes, video.etag)
    try:
        videos = open_videos(settings)
        videos.check_key(video.key)
        if videos.fetches_copies and item.size_bytes > most * 2**20:
            raise _UnreadError(f"its {item.size_bytes:,} bytes exceed work.scratch_mebibytes ({most})")
        path = videos.fetch(item, context.scratch / local_name(video), context.stop)
    except ObjectChanged as error:
        raise _UnreadError(f"{settings.videos} has another version of it now") from error
    except ObjectRefused as error:
        raise _UnreadError(f"{settings.videos} does not let it be read") from error
    except (InvalidInput, Unavailable) as error:
        raise _UnreadError(f"its source cannot be read: {error}") from error
    if path is None:
        raise _UnreadError(f"{settings.videos} does not have it any more")
    return path


def _drawn(context: StepContext, path: Path, source: Path, settings: Settings, caption: Caption) -> Movie:
    def on_frame(done: int) -> None:
        context.progress.update("show", done, caption.frames, "frames of the MP4")

    context.check_stop()
    try:
        extract = with_local_weights(settings, context.scratch).extract
        # at once, as masks of a long shot take half a minute, and nothing is kept of what is half done
        with interrupted_by_signals():
            return write_movie(path, source, extract, caption, on_frame)
    except InvalidInput as error:  # of the machine: no such device, or no such weights
        raise _UnreadError(f"its masks cannot be computed here: {error}") from error
