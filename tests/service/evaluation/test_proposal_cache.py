"""The cache of proposals: each image is searched once by any process, and finished work is kept."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.service.conftest import MakeContext
from watchmove.pipeline.detection.proposal_files import proposals_to_bytes
from watchmove.pipeline.errors import InvalidInput, Stopped
from watchmove.pipeline.voc.annotations import VocImage, read_voc
from watchmove.pipeline.world.detection_images import draw_voc_image
from watchmove.service.evaluation.proposal_cache import Proposals, proposals_of
from watchmove.service.runner.runner import StepContext

_SEARCH = "evaluate.detector.proposals"
SMALL = ("work.workers=1", f"{_SEARCH}.mode=single", f"{_SEARCH}.longer_side_pixels=64")
ALL_OF_IT = np.array([[0, 0, 160, 120]], np.float32)


@pytest.fixture
def images(tmp_path: Path) -> list[VocImage]:
    """Five drawn images."""
    for number in range(5):
        draw_voc_image(tmp_path / "voc", f"{number}", np.random.default_rng(number), (160, 120))
    return list(read_voc(tmp_path / "voc", None))


def boxes_of(context: StepContext, images: Sequence[VocImage]) -> Proposals:
    """The proposals of the images by the context's settings, kept in its store."""
    settings, store, scratch = context.settings, context.store, context.scratch
    return proposals_of(settings, store, scratch, images, progress=context.progress, check_stop=context.check_stop)


def stored(context: StepContext) -> dict[str, str]:
    """The key and ETag of the boxes of each image."""
    return {item.key: item.etag for item in context.store.list("proposals/")}


def test_a_picture_is_searched_once_whatever_list_and_folder_it_is_in(
    make_context: MakeContext, images: list[VocImage], tmp_path: Path
) -> None:
    """A longer list searches only new images, a copied image is not searched, and other settings search all."""
    context = make_context(*SMALL)
    first = boxes_of(context, images[:3])
    after_three = stored(context)
    every = boxes_of(context, [*images, images[0]])
    after_five = stored(context)
    copy = VocImage("copy", Path(shutil.copy(images[4].path, tmp_path / "copy.jpg")), 160, 120, ())
    again = boxes_of(context, [copy])

    assert (len(after_three), len(after_five), stored(context)) == (3, 5, after_five)
    assert after_three.items() < after_five.items()
    assert list(every) == [image.image_id for image in images]
    assert all(np.array_equal(first[name], every[name]) and len(first[name]) for name in first)
    np.testing.assert_array_equal(again["copy"], every["4"])
    boxes_of(make_context(*SMALL, f"{_SEARCH}.longer_side_pixels=80"), images[:1])
    assert len(stored(context)) == 6


def test_told_to_stop_it_keeps_what_was_searched(make_context: MakeContext, images: list[VocImage]) -> None:
    """After a stop, the next call searches only the remaining images."""
    context = make_context(*SMALL)
    create = context.store.create

    def stop_then(key: str, data: bytes) -> bool:
        context.stop.set()
        return create(key, data)

    context.store.create = stop_then  # type: ignore[method-assign]
    with pytest.raises(Stopped):
        boxes_of(context, images)
    kept = stored(context)
    context = make_context(*SMALL)
    boxes_of(context, images)

    assert 1 <= len(kept) < 5
    assert kept.items() < stored(context).items()


def test_what_another_process_stores_meanwhile_is_not_searched_again(
    make_context: MakeContext, images: list[VocImage]
) -> None:
    """Boxes that another process stores between the listing and the search are used."""
    context = make_context(*SMALL)
    boxes_of(context, images)
    keys, seen = list(stored(context)), make_context(*SMALL, f"store=file://{context.scratch}/other")
    head = seen.store.head

    def overtaken(key: str) -> object:
        seen.store.create(key, proposals_to_bytes({"x": ALL_OF_IT}))
        return head(key)

    seen.store.head = overtaken  # type: ignore[method-assign, assignment]
    found = boxes_of(seen, images)

    assert list(stored(seen)) == keys
    assert all(np.array_equal(boxes, ALL_OF_IT) for boxes in found.values())


@pytest.mark.parametrize("content", [None, b"no picture"])
def test_a_picture_that_is_none_is_named(
    make_context: MakeContext, images: list[VocImage], content: bytes | None
) -> None:
    """A missing or damaged image is named in one line."""
    images[2].path.unlink()
    if content is not None:
        images[2].path.write_bytes(content)

    with pytest.raises(InvalidInput, match=r"2\.jpg: (no such file|cannot be decoded)"):
        boxes_of(make_context(*SMALL), images)


def test_a_picture_that_is_a_folder_is_named(make_context: MakeContext, images: list[VocImage]) -> None:
    """As is one that may not be read."""
    images[2].path.unlink()
    images[2].path.mkdir()

    with pytest.raises(InvalidInput, match=r"2\.jpg: cannot be read \(Is a directory\); add the image"):
        boxes_of(make_context(*SMALL), images)
