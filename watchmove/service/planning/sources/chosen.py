"""The videos that a run takes, read once from their source: listed in a file, with a few bytes of each in memory."""

from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

from watchmove.service.planning.sharding import expected_seconds
from watchmove.service.planning.sources.choice import why_not
from watchmove.service.planning.sources.listed import Tally
from watchmove.service.planning.sources.source import Source
from watchmove.service.records.forgotten import FORGOTTEN, ForgottenWorks
from watchmove.service.records.listing import ListingWriter
from watchmove.service.records.outcomes import Video, video_id
from watchmove.service.records.record import Origin
from watchmove.service.settings.settings import PlanSettings

_REPORT_EVERY_KEYS = 1000
"""Set by hand: a row takes microseconds, so a signal is noticed within milliseconds."""


class Chosen:
    """Columns of the videos of a source; the videos themselves are in the file at `path`, in the same order.

    `numbers`, `size_bytes` and `seconds` are columns of the videos taken; `passed` are the numbers of the others.
    `keys` maps each key of the source to its row, or to -1 if the video was left out.
    """

    def __init__(
        self,
        source: Source,
        settings: PlanSettings,
        forgotten: ForgottenWorks,
        made_by: Origin,
        path: Path,
        on_rows: Callable[[int], None],
    ) -> None:
        """Read the source to its end and write the listing to `path`.

        `on_rows` is called at intervals with the number of keys read; it may raise Stopped after a signal.
        """
        self._forgotten = forgotten
        self.path = path
        self.tally = Tally()
        self.numbers, self.passed = array("Q"), array("Q")
        self.size_bytes, self.seconds = array("Q"), array("d")
        self.keys: dict[str, int] = {}
        writer = ListingWriter(self.path, made_by, source.videos.uri)
        for video in self._videos(source, settings, on_rows):
            writer.add(video)
            self.numbers.append(int(video.id, 16))
            self.size_bytes.append(video.size_bytes)
            self.seconds.append(expected_seconds(video, settings))
        self.digest = writer.close()

    def _videos(self, source: Source, settings: PlanSettings, on_rows: Callable[[int], None]) -> Iterator[Video]:
        for row in source.rows(self.tally):
            if len(self.keys) % _REPORT_EVERY_KEYS == 0:
                on_rows(len(self.keys))
            if row.key in self.keys:
                self.tally.filtered["listed-twice"] += 1
                continue
            identity = video_id(source.videos.uri, row.key, row.etag)
            is_forgotten = self._forgotten.has(source.videos.uri, row.key)
            reason = FORGOTTEN if is_forgotten else why_not(row, settings)
            # `numbers` has no entry of this video until it has been yielded, so its length is the video's row
            self.keys[row.key] = -1 if reason else len(self.numbers)
            if reason:
                self.tally.filtered[reason] += 1
                self.passed.append(int(identity, 16))
            else:
                yield Video(
                    id=identity,
                    key=row.key,
                    etag=row.etag,
                    size_bytes=row.size_bytes,
                    duration_seconds=row.duration_seconds,
                    credit=row.credit,
                )
