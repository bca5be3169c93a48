"""Small sound inputs of every reader of untrusted data but video, each in two variants."""

import gzip
import io
import json
import sqlite3
import tarfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import scipy.io
from numpy.typing import NDArray
from safetensors.numpy import save

from watchmove.pipeline.dataset.shard import Sample, write_shard
from watchmove.pipeline.detection.proposal_files import proposals_to_bytes
from watchmove.pipeline.networks.alexnet import AlexNet
from watchmove.pipeline.voc.annotations import VocObject, write_split, write_voc_image
from watchmove.pipeline.voc.detections import Detection, write_detections
from watchmove.service.planning.sources import yfcc100m_sqlite
from watchmove.service.records.outcomes import Outcome, ShardRecord, Video, VideoOutcome
from watchmove.service.records.record import Origin
from watchmove.service.records.shard_index import FramePlace
from watchmove.service.settings.loading import LAPTOP

HEIGHT, WIDTH = 96, 128
"""Size of the images, in pixels."""


def image_of(variant: int) -> NDArray[np.uint8]:
    """An image (96, 128, 3) uint8 with smooth noise."""
    draw = np.random.default_rng(variant)
    return np.asarray(cv2.resize(draw.integers(0, 256, (6, 8, 3), np.uint8), (WIDTH, HEIGHT)), np.uint8)


def encoded(suffix: str) -> Callable[[int], bytes]:
    """The maker of an image file."""
    return lambda variant: cv2.imencode(suffix, image_of(variant))[1].tobytes()


def made_in(folder: Callable[[Path], Path], write: Callable[[Path, int], object]) -> Callable[[int], bytes]:
    """The maker of a file that a function writes in a folder."""

    def make(variant: int) -> bytes:
        with TemporaryDirectory() as name:
            write(Path(name), variant)
            return folder(Path(name)).read_bytes()

    return make


def samples_of(variant: int) -> list[Sample]:
    """Four samples of a shard."""
    png = encoded(".png")(variant)
    return [Sample(f"{variant:016x}-{k:06d}", encoded(".jpg")(k), png, {"video": "v", "frame": k}) for k in range(4)]


def write_long_names(folder: Path, variant: int) -> None:
    """Write a tar with names over 100 bytes, in PAX or GNU format."""
    form = (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)[variant]
    with tarfile.open(folder / "x", "w", format=form) as tar:
        for number in range(3):
            for part in ("jpg", "mask.png", "json"):
                entry = tarfile.TarInfo(f"{'long/' * 30}é{number}.{part}")
                content = b"{}" if part == "json" else b"12345"
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))


def write_voc(folder: Path, variant: int) -> None:
    """Write a set of two annotated images in VOC format."""
    objects = [VocObject("dog", (3.0, 4.0, 30.0, 40.0), False), VocObject("cat", (1.0, 1.0, 9.0, 9.0), True)]
    for name in ("a", "b c"):
        write_voc_image(folder, name, image_of(variant), objects[: 2 - variant])
    write_split(folder, "train", ("a", "b c"))


def write_results(folder: Path, variant: int) -> None:
    """Write a result file of six detections."""
    rows = [Detection(f"{k:06d}", k / 7 + variant, (1.5, 2.5, 30.0 + k, 40.25)) for k in range(6)]
    write_detections(folder, "test", {"dog": rows})


def coco_bytes(variant: int) -> bytes:
    """Instances in COCO format: three images, with a polygon and two forms of run lengths."""
    packed = {"size": [HEIGHT, WIDTH], "counts": [100, 500, 96 * 128 - 600]}
    shapes: list[object] = [[[3.5, 4, 30, 4, 30, 40.5]], packed, {**packed, "counts": [0, 96 * 128]}]
    images = [
        {"id": k, "file_name": f"{k}{variant}.jpg", "height": HEIGHT, "width": WIDTH, "license": 1} for k in range(3)
    ]
    annotations = [
        {
            "id": k,
            "image_id": k,
            "iscrowd": int(k == 1),
            "bbox": [3, 4, 27, 36],
            "area": 9,
            "category_id": 1,
            "segmentation": shape,
        }
        for k, shape in enumerate(shapes)
    ]
    licences = [{"id": 1, "name": "CC", "url": "https://example.org"}]
    return json.dumps({"images": images, "annotations": annotations, "licenses": licences}).encode()


@cache
def weights_bytes(variant: int) -> bytes:
    """The convolutions of AlexNet as safetensors."""
    trunk = AlexNet().state_dict()
    kept = {name: value.numpy() + variant for name, value in trunk.items() if name.startswith("conv")}
    return save(kept)


ROW = "1\t{id}\t{hash}\t7@N00\tann\t2009-01-02\t1\tcam\tA+title\t\ttag\t\t-1.5\t51.25\t16\thttp://p\thttp://d\tCC\thttp://l\t1\t2\ts\to\tjpg\t{marker}\n"


def yfcc_bytes(variant: int) -> bytes:
    """Twelve rows of YFCC100M, half of them videos."""
    rows = (ROW.format(id=k, hash=f"{k + 16 * variant:032x}", marker=k % 2) for k in range(12))
    return "".join(rows).encode()


def write_yfcc_sqlite(folder: Path, variant: int) -> None:
    """Write an SQLite file of twenty videos of YFCC100M."""
    names = (
        "uid",
        "unickname",
        "datetaken",
        "title",
        "longitude",
        "latitude",
        "pageurl",
        "downloadurl",
        "licensename",
        "licenseurl",
    )
    with sqlite3.connect(folder / "x") as database:
        database.execute(f"CREATE TABLE {yfcc100m_sqlite.TABLE} (photoid integer, {', '.join(names)}, marker integer)")
        for k in range(20):
            row = (
                k,
                "7@N00",
                "ann",
                "2009",
                "title",
                -1.5,
                51.25,
                "http://p",
                f"http://d/{k}{variant}",
                "CC",
                "http://l",
                1,
            )
            database.execute(f"INSERT INTO {yfcc100m_sqlite.TABLE} VALUES ({','.join('?' * 12)})", row)
    database.close()


def csv_bytes(variant: int) -> bytes:
    """A list of ten videos in CSV."""
    rows = (f'v{k}.mp4,{k},"e{k}",{k}.5,"a ""title"", of {variant}"\n' for k in range(10))
    return ("uri,size,etag,duration_seconds,title\n" + "".join(rows)).encode()


def json_list_bytes(variant: int) -> bytes:
    """A list of ten videos in JSON lines."""
    return b"".join(
        json.dumps({"uri": f"v{k}.mp4", "size": k, "title": f"t{variant}"}).encode() + b"\n" for k in range(10)
    )


def videos_of(variant: int) -> list[Video]:
    """Six planned videos."""
    return [Video(id=f"{k:016x}", key=f"v{k}{variant}.mp4", etag="e", size_bytes=k) for k in range(6)]


def planned_bytes(variant: int) -> bytes:
    """The list of a shard in a plan."""
    return b"".join(video.model_dump_json().encode() + b"\n" for video in videos_of(variant))


def record_bytes(variant: int) -> bytes:
    """The record of a part of a shard."""
    made_by = Origin(settings={}, settings_hash="h", version="1", image="", inputs={}, written_at_unix_seconds=1.0)
    outcomes = tuple(VideoOutcome(video=video, outcome=Outcome.KEPT, frames_seen=9) for video in videos_of(variant))
    record = ShardRecord(
        made_by=made_by, plan="p", shard=0, part=0, data_key="d", data_sha256="s", data_bytes=1, index_key="i",
        audit_key="a", seconds=1.0, videos=outcomes,
    )  # fmt: skip
    return record.model_dump_json(indent=1).encode()


def index_bytes(variant: int) -> bytes:
    """The index of a shard with six frames."""
    places = [FramePlace(key=f"k{k}", offset=k * 512, size_bytes=512, video="v", crc32=variant) for k in range(6)]
    return gzip.compress(b"".join(place.model_dump_json().encode() + b"\n" for place in places), mtime=0)


def settings_bytes(variant: int) -> bytes:
    """The settings of the laptop preset."""
    return LAPTOP.read_bytes() + f"# {variant}\n".encode()


def proposals_bytes(variant: int) -> bytes:
    """Proposals of three images."""
    return proposals_to_bytes({f"{k}": np.full((3, 4), k + variant, np.float32) for k in range(3)})


def mat_bytes(variant: int) -> bytes:
    """Proposals of two images in a MATLAB file."""
    cells, names = np.empty((1, 2), object), np.empty((2, 1), object)
    for k in range(2):
        cells[0, k], names[k, 0] = np.array([[1, 2, 30, 40 + variant]], np.uint16), f"{k:06d}"
    with TemporaryDirectory() as folder:
        path = str(Path(folder) / "x.mat")
        scipy.io.savemat(path, {"boxes": cells, "images": names}, do_compression=bool(variant))
        return Path(path).read_bytes()


def write_tar(folder: Path, variant: int) -> None:
    """Write a shard of four samples."""
    write_shard(folder / "x", samples_of(variant))


def file_x(folder: Path) -> Path:
    """The file x of a folder."""
    return folder / "x"
