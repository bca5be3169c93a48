"""Region proposals of images: computed in parallel, once for each image and settings, and cached in the store."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.detection.mat_proposals import need_all, read_mat_proposals
from watchmove.pipeline.detection.proposal_files import proposals_from_bytes, proposals_to_bytes
from watchmove.pipeline.detection.proposals import selective_search
from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.pipeline.files.digest import file_sha256
from watchmove.pipeline.settings.evaluation import ProposalSettings
from watchmove.pipeline.voc.annotations import VocImage, read_image
from watchmove.service.records import layout
from watchmove.service.records.stream import in_order
from watchmove.service.runner.child_process import end_with_parent, fork_server
from watchmove.service.runner.progress import ProgressReport
from watchmove.service.settings.settings import Settings, settings_hash, worker_count
from watchmove.service.store.opening import open_store
from watchmove.service.store.store import Store, StoredObject

PROPOSALS_VERSION = 1
"""Version of the code; it is increased when the same images and settings would give other boxes."""

_TURN = 8
"""Images for each worker in a turn, before which images that others have stored are left out. Not tuned."""

Proposals = dict[str, NDArray[np.float32]]


def proposals_of(
    settings: Settings,
    store: Store,
    scratch: Path,
    images: Sequence[VocImage],
    *,
    progress: ProgressReport,
    check_stop: Callable[[], None],
) -> Proposals:
    """Boxes float32 (P, 4) xyxy by image id, from the store if any process has searched the same image before.

    Raises:
        InvalidInput: an image cannot be read.
        Stopped: stopped by a signal; finished images stay in the store.
    """
    if settings.evaluate.proposal_files:
        return _published(settings.evaluate.proposal_files, scratch, images)
    by_id = {image.image_id: image for image in images}
    searched_as = settings_hash(settings.evaluate.detector.proposals, PROPOSALS_VERSION)
    # Named by the image's content, so that a copy in another list or folder is not searched again.
    keys = {
        name: layout.proposals(searched_as, digest)
        for name, digest in zip(by_id, in_order(_digest, (image.path for image in by_id.values())), strict=True)
    }
    # One listing instead of a request for each image.
    known = {item.key for item in store.list(layout.all_proposals(searched_as))}
    missing = [image for name, image in by_id.items() if keys[name] not in known]
    if missing:
        _search_missing(settings, store, missing, keys, progress, check_stop)
    return dict(zip(keys, in_order(partial(_stored_boxes, store), keys.values()), strict=True))


def _digest(path: Path) -> str:
    """The first 128 bits of the SHA-256 of an image file, as 32 hexadecimal digits."""
    try:
        return file_sha256(path)[:32]
    except OSError as error:
        state = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise InvalidInput(f"{path}: {state}; add the image or remove its id from the image set") from error


def _stored_boxes(store: Store, key: str) -> NDArray[np.float32]:
    content = store.read(key)
    if content is None:
        raise Unavailable(f"{store.uri}/{key}: deleted since it was listed; run the step again")
    (boxes,) = proposals_from_bytes(content, f"{store.uri}/{key}").values()
    return boxes


def proposal_files_identity(settings: Settings) -> list[list[str]]:
    """The URI and ETag of each file of `evaluate.proposal_files`. Raises InvalidInput if one does not exist."""
    return [[uri, _stored(uri)[1].etag] for uri in settings.evaluate.proposal_files]


def _stored(uri: str) -> tuple[Store, StoredObject]:
    folder, _, name = uri.rpartition("/")
    store = open_store(folder)
    item = store.head(name)
    if item is None:
        raise InvalidInput(f"{uri}: no such file of proposals; set evaluate.proposal_files to an existing one")
    return store, item


def _published(uris: Sequence[str], scratch: Path, images: Sequence[VocImage]) -> Proposals:
    """Boxes of the images from `evaluate.proposal_files`; later files take precedence."""
    proposals: Proposals = {}
    for number, uri in enumerate(uris):
        store, item = _stored(uri)
        path = store.local(item.key, scratch / f"proposals-{number}.mat")  # two folders may use one name
        if path is None:
            raise InvalidInput(f"{uri}: deleted since the step began; restore it and run again")
        proposals.update(read_mat_proposals(path))
    return need_all(proposals, (image.image_id for image in images))


def _search_missing(
    settings: Settings,
    store: Store,
    images: Sequence[VocImage],
    keys: Mapping[str, str],
    progress: ProgressReport,
    check_stop: Callable[[], None],
) -> None:
    """Search images in worker processes and store the boxes of each image."""
    workers = worker_count(settings)
    search = partial(_search, settings.evaluate.detector.proposals)
    # Not fork: this process has threads, and a lock that one of them holds would stay locked in the child.
    with ProcessPoolExecutor(workers, mp_context=fork_server(), initializer=end_with_parent) as pool:
        try:
            for done, turn in _turns(store, images, keys, _TURN * workers):
                for number, (name, boxes) in enumerate(pool.map(search, turn), start=1):
                    # Boxes that another process has stored meanwhile stay, so what was read once never changes.
                    store.create(keys[name], proposals_to_bytes({name: boxes}))
                    progress.update("proposals", done + number, len(images), f"{len(boxes)} boxes")
                    check_stop()
        except BrokenProcessPool as error:
            # If a signal has ended the workers too, this is a stop and not a crash.
            check_stop()
            raise InvalidInput("selective search crashed on an image; look for a damaged one in JPEGImages/") from error
        finally:
            # Leaving the `with` block alone would first search every image that is still queued.
            pool.shutdown(wait=False, cancel_futures=True)


def _turns(
    store: Store, images: Sequence[VocImage], keys: Mapping[str, str], size: int
) -> Iterator[tuple[int, list[VocImage]]]:
    """Groups of images to search, each with the number of images before it.

    Each process takes the images in a random order of its own and skips those that another has stored meanwhile, so
    that the pods of a fan-out, which start at the same time, share the work.
    """
    order = np.random.default_rng().permutation(len(images))
    for done in range(0, len(images), size):
        turn = [images[place] for place in order[done : done + size]]
        yield done, [image for image in turn if store.head(keys[image.image_id]) is None]


def _search(settings: ProposalSettings, image: VocImage) -> tuple[str, NDArray[np.float32]]:
    cv2.setNumThreads(1)  # there is a worker for each core
    return image.image_id, selective_search(read_image(image.path), settings)
