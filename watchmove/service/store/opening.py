"""Opens a store from its URI; the only module that knows every kind of store."""

from pathlib import Path

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.settings.settings import Settings
from watchmove.service.store.store import Access, Store


def open_store(uri: str, access: Access = Access()) -> Store:  # noqa: B008 (immutable)
    """Return the store at a `file://` or `s3://` URI, without contacting it.

    Raises:
        InvalidInput: the URI has another form.
    """
    if uri.startswith("file://"):
        from watchmove.service.store.folder import FileStore

        return FileStore(Path(uri.removeprefix("file://")))
    if uri.startswith("s3://"):  # imported here because boto3 takes long to import and a folder does not need it
        from watchmove.service.store.s3 import S3Store

        return S3Store(uri, access)
    raise InvalidInput(f"store {uri!r}: not a URI of a store; write file://FOLDER or s3://BUCKET/PREFIX")


def open_videos(settings: Settings) -> Store:
    """Return the store that holds a run's videos, with the access that the settings give."""
    return open_store(settings.videos, access_to_videos(settings))


def access_to_videos(settings: Settings) -> Access:
    """Return how requests to the bucket of the videos are signed and paid for, by the settings."""
    return Access(settings.work.unsigned_videos, settings.work.requester_pays)
