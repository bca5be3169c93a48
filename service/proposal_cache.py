"""Region proposals of a detection set: computed once, in parallel, and kept in the store."""

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.detector_images import read_image
from pipeline.errors import InvalidInput
from pipeline.mat_proposals import need_all, read_mat_proposals
from pipeline.proposals import proposals_from_bytes, proposals_to_bytes, selective_search
from pipeline.settings.evaluation import ProposalSettings
from pipeline.voc import VocImage
from service import layout
from service.child_process import end_with_parent, leave_signals
from service.detection_set import DetectionSet
from service.runner import StepContext
from service.settings import Settings, settings_hash, worker_count
from service.store import Store, StoredObject, open_store

PROPOSALS_VERSION = 1
"""Raised when the same images and settings would give other boxes."""

Proposals = dict[str, NDArray[np.float32]]


def proposals_of(
    context: StepContext, voc: DetectionSet, images: Sequence[VocImage], settings: ProposalSettings
) -> Proposals:
    """Boxes for each image's id, from the store where they have been computed before.

    Raises:
        InvalidInput: an image cannot be read. Stopped: told to stop; nothing is kept.
    """
    if context.settings.evaluate.proposal_files:
        return _published(context, images)
    ids = sorted(image.image_id for image in images)
    key = layout.proposals(settings_hash(voc.identity, ids, settings, PROPOSALS_VERSION))
    known = context.store.read(key)
    if known is not None:
        return proposals_from_bytes(known, f"{context.store.uri}/{key}")
    proposals = dict(_searched(context, images, settings))
    context.store.create(key, proposals_to_bytes(proposals))
    return proposals


def proposal_files_identity(settings: Settings) -> list[list[str]]:
    """The URI and ETag of each of the settings' files of proposals. Raises InvalidInput where one is absent."""
    return [[uri, _stored(uri)[1].etag] for uri in settings.evaluate.proposal_files]


def _stored(uri: str) -> tuple[Store, StoredObject]:
    folder, _, name = uri.rpartition("/")
    store = open_store(folder)
    item = store.head(name)
    if item is None:
        raise InvalidInput(f"{uri}: no such file of proposals; set evaluate.proposal_files to one that is there")
    return store, item


def _published(context: StepContext, images: Sequence[VocImage]) -> Proposals:
    """Boxes of the images from the settings' files, of which a later one has precedence."""
    proposals: Proposals = {}
    for number, uri in enumerate(context.settings.evaluate.proposal_files):
        store, item = _stored(uri)
        path = store.local(item.key, context.scratch / f"proposals-{number}.mat")
        if path is None:
            raise InvalidInput(f"{uri}: gone since the step began; put it back and run again")
        proposals.update(read_mat_proposals(path))
    return need_all(proposals, (image.image_id for image in images))


def _searched(
    context: StepContext, images: Sequence[VocImage], settings: ProposalSettings
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    forkserver = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(worker_count(context.settings), mp_context=forkserver, initializer=_begin_worker) as pool:
        try:
            for number, found in enumerate(pool.map(partial(_search, settings), images, chunksize=4), start=1):
                context.check_stop()
                context.progress.update("proposals", number, len(images), f"{len(found[1])} boxes")
                yield found
        except BrokenProcessPool as error:
            context.check_stop()
            raise InvalidInput("selective search crashed on an image; look for a damaged one in JPEGImages/") from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _begin_worker() -> None:
    leave_signals()
    end_with_parent()


def _search(settings: ProposalSettings, image: VocImage) -> tuple[str, NDArray[np.float32]]:
    cv2.setNumThreads(1)
    return image.image_id, selective_search(read_image(image.path), settings)
