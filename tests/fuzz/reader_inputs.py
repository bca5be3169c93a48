"""The readers of untrusted data but video, each with an input, and the check of a damaged one."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from tests.fuzz.mutation import generator_of, mutated
from tests.fuzz.sound_inputs import (
    HEIGHT,
    WIDTH,
    coco_bytes,
    csv_bytes,
    encoded,
    file_x,
    index_bytes,
    json_list_bytes,
    made_in,
    mat_bytes,
    planned_bytes,
    proposals_bytes,
    record_bytes,
    settings_bytes,
    weights_bytes,
    write_long_names,
    write_results,
    write_tar,
    write_voc,
    write_yfcc_sqlite,
    yfcc_bytes,
)
from tests.fuzz.videos import Find
from watchmove.pipeline.coco.masks import soft_mask_of
from watchmove.pipeline.dataset.shard import read_shard
from watchmove.pipeline.detection.mat_proposals import read_mat_proposals
from watchmove.pipeline.detection.proposal_files import proposals_from_bytes
from watchmove.pipeline.errors import InvalidInput, UnreadableVideo
from watchmove.pipeline.networks.weight_mapping import load_mapped
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.frames import frames_of_folder
from watchmove.pipeline.voc.annotations import read_voc
from watchmove.pipeline.voc.detections import read_detection_file
from watchmove.pipeline.voc.images import read_image
from watchmove.service.extraction.coco_instances import Instances
from watchmove.service.planning.sources import video_list, yfcc100m, yfcc100m_sqlite
from watchmove.service.planning.sources.listed import Tally
from watchmove.service.records.outcomes import ShardRecord, Video
from watchmove.service.records.record import find, from_json_lines
from watchmove.service.records.shard_index import read_index
from watchmove.service.settings.loading import load_settings
from watchmove.service.store.folder import FileStore

_LONGEST_SECONDS = 20.0
"""Longest time for one input. The slowest is a proposals file, read by a process that loads SciPy: 2 s."""


@dataclass(frozen=True)
class Reader:
    """A reader and an input for it.

    name: of the file; make: the bytes of a sound file, of one of two variants; read: reads the file at a path, in a
    folder of its own, and returns how many things it found.
    """

    name: str
    make: Callable[[int], bytes]
    read: Callable[[Path], int]


def _read_annotation(path: Path) -> int:
    return len(read_voc(path.parent, None))


def _read_list(path: Path) -> int:
    write_voc(path.parent, 0)
    content = path.read_bytes()
    (path.parent / "ImageSets" / "Main" / "train.txt").write_bytes(content)
    images = read_voc(path.parent, "train")
    if not {image.image_id for image in images} <= {"a", "b c"}:
        raise Find("an image that does not exist was read")
    return len(images)


def _read_detections(path: Path) -> int:
    found = read_detection_file(path)
    if not (np.isfinite(found.scores).all() and np.isfinite(found.boxes_xyxy).all()):
        raise Find("a number that is not finite was read")
    return len(found.image_ids)


def _read_coco(path: Path) -> int:
    folder = path.parent / "parts"
    folder.mkdir()
    instances = Instances(path, "file:///images", folder, lambda: None)
    count = 0
    for shard in range(instances.shards):
        for found in instances.annotations_of(shard).values():
            try:
                mask = soft_mask_of(found.objects, HEIGHT, WIDTH).soft_mask
            except UnreadableVideo as error:
                if error.reason != "bad-mask":
                    raise
                continue
            if mask is not None and not (mask.shape == (HEIGHT, WIDTH) and 0 <= mask.min() <= mask.max() <= 1):
                raise Find("a soft mask is out of its range")
            count += 1
    return count


def _read_weights(path: Path) -> int:
    trunk, mapping = load_mapped(path, None, 0)
    if not all(bool(value.isfinite().all()) for value in trunk.state_dict().values()):
        raise Find("a weight that is not finite was read")
    return len(mapping.taken)


def _read_folder(path: Path) -> int:
    frames = list(
        frames_of_folder(path.parent, ExtractionSettings(shorter_side_pixels=HEIGHT, max_source_pixels=10**6))
    )
    return len(frames)


def _read_one_image(path: Path) -> int:
    return int(read_image(path).ndim == 3)


def _read_yfcc(path: Path) -> int:
    return sum(1 for _ in yfcc100m.videos_in(_pieces(path), path.name, Tally()))


def _read_yfcc_sqlite(path: Path) -> int:
    return sum(1 for _ in yfcc100m_sqlite.videos_in(path, Tally()))


def _pieces(path: Path):  # type: ignore[no-untyped-def]
    content = path.read_bytes()
    return (content[place : place + 100] for place in range(0, len(content), 100))


def _read_csv(path: Path) -> int:
    tally = Tally()
    rows = video_list.csv_rows(_pieces(path), path.name, tally)
    return sum(1 for _ in video_list.videos_in(rows, path.name, "file:///v", tally))


def _read_json_list(path: Path) -> int:
    tally = Tally()
    rows = video_list.json_rows(_pieces(path), path.name, tally)
    return sum(1 for _ in video_list.videos_in(rows, path.name, "file:///v", tally))


def _read_planned(path: Path) -> int:
    return len(from_json_lines(path.read_bytes(), Video, path.name))


def _read_record(path: Path) -> int:
    return int(find(FileStore(path.parent), path.name, ShardRecord) is not None)


def _read_index(path: Path) -> int:
    return len(read_index(FileStore(path.parent), path.name))


def _read_settings(path: Path) -> int:
    return int(load_settings(path) is not None)


def _read_proposals(path: Path) -> int:
    return len(proposals_from_bytes(path.read_bytes()))


def _read_mat(path: Path) -> int:
    return len(read_mat_proposals(path))


def _read_tar(path: Path) -> int:
    return sum(1 for _ in read_shard(path))


READERS: dict[str, Reader] = {
    "tar": Reader("x.tar", made_in(file_x, write_tar), _read_tar),
    "tar-long-names": Reader("x.tar", made_in(file_x, write_long_names), _read_tar),
    "voc-annotation": Reader(
        "a.xml", made_in(lambda folder: folder / "Annotations" / "a.xml", write_voc), _read_annotation
    ),
    "voc-list": Reader(
        "list.txt", made_in(lambda folder: folder / "ImageSets" / "Main" / "train.txt", write_voc), _read_list
    ),
    "voc-detections": Reader(
        "x.txt", made_in(lambda folder: folder / "comp4_det_test_dog.txt", write_results), _read_detections
    ),
    "coco": Reader("instances.json", coco_bytes, _read_coco),
    "weights": Reader("x.safetensors", weights_bytes, _read_weights),
    "image-png": Reader("x.png", encoded(".png"), _read_folder),
    "image-jpeg": Reader("x.jpg", encoded(".jpg"), _read_folder),
    "image-webp": Reader("x.webp", encoded(".webp"), _read_folder),
    "image-tiff": Reader("x.tif", encoded(".tif"), _read_folder),
    "image-bmp": Reader("x.bmp", encoded(".bmp"), _read_folder),
    "voc-image": Reader("x.jpg", encoded(".jpg"), _read_one_image),
    "yfcc100m": Reader("x.txt", yfcc_bytes, _read_yfcc),
    "yfcc100m-sqlite": Reader("x.sqlite", made_in(file_x, write_yfcc_sqlite), _read_yfcc_sqlite),
    "list-csv": Reader("x.csv", csv_bytes, _read_csv),
    "list-json": Reader("x.jsonl", json_list_bytes, _read_json_list),
    "plan-list": Reader("x.jsonl", planned_bytes, _read_planned),
    "record": Reader("x.json", record_bytes, _read_record),
    "shard-index": Reader("x.index.json.gz", index_bytes, _read_index),
    "settings": Reader("x.yaml", settings_bytes, _read_settings),
    "proposals-npz": Reader("x.npz", proposals_bytes, _read_proposals),
    "proposals-mat": Reader("x.mat", mat_bytes, _read_mat),
}
"""All readers by the name of their input."""


@cache
def sound_input(name: str, variant: int) -> bytes:
    """The bytes of a sound input of a reader."""
    return READERS[name].make(variant)


def read_in_folder(name: str, content: bytes, folder: Path) -> str:
    """Read an input in an empty folder: `read`, or `refused` with InvalidInput. Raises Find for what else happens."""
    reader = READERS[name]
    path = folder / reader.name
    path.write_bytes(content)
    began = time.monotonic()
    try:
        reader.read(path)
        outcome = "read"
    except InvalidInput as error:
        outcome = "refused"
        if "\n" in str(error):
            raise Find(f"the message has more than one line: {str(error)[:200]!r}") from error
    except Find:
        raise
    except Exception as error:
        raise Find(f"{type(error).__name__}: {error}") from error
    if time.monotonic() - began > _LONGEST_SECONDS:
        raise Find(f"took {time.monotonic() - began:.0f} s")
    return outcome


def check_reader(name: str, seed: int, folder: Path) -> str:
    """Read the damaged input with the number `seed`. Raises Find where a rule is broken."""
    sound = sound_input(name, 0)
    content, changes = mutated(sound, sound_input(name, 1), generator_of(name, seed), (0, len(sound)))
    try:
        return read_in_folder(name, content, folder)
    except Find as find:
        raise Find(f"{find} ({changes})") from find.__cause__
