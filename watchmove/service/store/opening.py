"""A store from its URI: the one place that knows every kind of store."""

from pathlib import Path

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.settings.settings import Settings
from watchmove.service.store.store import Access, Store


def open_store(uri: str, access: Access = Access()) -> Store:  # noqa: B008 (immutable)
    """The store at a `file://` or `s3://` URI; nothing is contacted yet.

    Raises:
        InvalidInput: the URI has another form.
    """
    if uri.startswith("file://"):
        from watchmove.service.store.folder import FileStore

        return FileStore(Path(uri.removeprefix("file://")))
    if uri.startswith("s3://"):
        from watchmove.service.store.s3 import S3Store

        return S3Store(uri, access)
    raise InvalidInput(f"store {uri!r}: neither file://FOLDER nor s3://BUCKET/PREFIX")


def open_videos(settings: Settings) -> Store:
    """The store in which a run's videos lie, accessed as the settings say."""
    return open_store(settings.videos, access_to_videos(settings))


def access_to_videos(settings: Settings) -> Access:
    """How the settings say that requests to the videos' bucket are made."""
    return Access(settings.work.unsigned_videos, settings.work.requester_pays)
