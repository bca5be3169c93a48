"""The videos that a run takes, read once from their source: written down as they come, kept as a few bytes each."""

from array import array
from collections.abc import Iterator

from watchmove.service.planning.sharding import expected_seconds
from watchmove.service.planning.sources.choice import why_not
from watchmove.service.planning.sources.listed import Tally
from watchmove.service.planning.sources.source import Source
from watchmove.service.records.listing import ListingWriter
from watchmove.service.records.outcomes import Video, video_id
from watchmove.service.records.record import Origin
from watchmove.service.runner.runner import StepContext

_LOOK_UP_EVERY = 1000


class Chosen:
    """What one reading of a source gave; the videos themselves lie in the file at `path`, in the same order.

    `numbers`, `size_bytes` and `seconds` are columns of the videos taken. `passed` are the numbers of those left out.
    `keys` says for each key of the source which row it is, -1 where it was left out.
    """

    def __init__(self, context: StepContext, source: Source, made_by: Origin) -> None:
        self.path = context.scratch / "listing.json.gz"
        self.tally = Tally()
        self.numbers, self.passed = array("Q"), array("Q")
        self.size_bytes, self.seconds = array("Q"), array("d")
        self.keys: dict[str, int] = {}
        writer = ListingWriter(self.path, made_by, source.videos.uri)
        for video in self._videos(context, source):
            writer.add(video)
            self.numbers.append(int(video.id, 16))
            self.size_bytes.append(video.size_bytes)
            self.seconds.append(expected_seconds(video, context.settings.plan))
        self.digest = writer.close()

    def _videos(self, context: StepContext, source: Source) -> Iterator[Video]:
        for row in source.rows(self.tally):
            if len(self.keys) % _LOOK_UP_EVERY == 0:
                context.check_stop()
            if row.key in self.keys:
                self.tally.filtered["listed-twice"] += 1
                continue
            identity = video_id(source.videos.uri, row.key, row.etag)
            reason = why_not(row, context.settings.plan)
            self.keys[row.key] = -1 if reason else len(self.numbers)
            if reason:
                self.tally.filtered[reason] += 1
                self.passed.append(int(identity, 16))
            else:
                yield Video(id=identity, **row._asdict())
