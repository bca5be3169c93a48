"""The annotated sequences of a folder in the layout of DAVIS: which are measured, and their frames with the truth."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.dataset.true_masks import annotation_paths, davis_folder, read_annotation
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.extraction.every_frame import MaskedFrame, mask_frames
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.frames import VideoFrames, frames_of_folder, image_paths

_LEAVE_OUT = "repair it, or leave out the sequence"


def chosen_sequences(davis: Path, sequences: Sequence[str], videos: Path | None) -> list[str]:
    """The names of the sequences to measure: `sequences`, or all; with `videos`, those that have a video there.

    Hidden folders are passed over. Raises InvalidInput if a folder or a named sequence does not exist, or none is left.
    """
    folder = davis_folder(davis, "JPEGImages")
    if not folder.is_dir():
        raise InvalidInput(f"--davis {davis}: has no JPEGImages/; name a folder in the layout of DAVIS")
    known = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    for name in sequences:
        if name not in known:
            raise InvalidInput(f"--sequences {name}: not in {folder}; known there: {', '.join(known)}")
    if sequences or videos is None:
        return list(sequences) or known
    # A sequence without a video is an error only if it was named.
    found = [name for name in known if _videos_of(videos, name)]
    if not found:
        raise InvalidInput(f"--videos {videos}: no SEQUENCE.mp4 of {folder} there; name the folder of the videos")
    return found


def frames_with_truth(
    davis: Path, name: str, most_frames: int, videos: Path | None, settings: ExtractionSettings
) -> tuple[list[MaskedFrame], list[NDArray[np.bool_]]]:
    """The first frames of a sequence, segmented, and the annotated mask (H, W) of each.

    Images and annotations belong together by their names, the frames of a video and annotations by their order.

    Raises:
        InvalidInput: a frame has no annotation, cannot be read, or has another size than the first.
    """
    annotations = davis_folder(davis, "Annotations") / name
    annotated = annotation_paths(annotations)[:most_frames]
    truths = [read_annotation(path) for path in annotated]
    source = davis_folder(davis, "JPEGImages") / name if videos is None else _video_of(videos, name)
    if videos is None:
        _check_names([path.stem for path in image_paths(source)][:most_frames], annotated, annotations)
    if videos is None:
        frames = list(mask_frames(islice(frames_of_folder(source, settings), most_frames), settings))
    else:
        # by ffmpeg's own decoders, so that figures of all machines are of the same frames
        decoded = settings.model_copy(update={"hardware_decoding": False})
        with VideoFrames(source, decoded) as stream:
            frames = list(mask_frames(islice(stream, most_frames), settings))
    if len(frames) != len(truths):
        raise InvalidInput(f"{name}: {len(frames)} frames and {len(truths)} annotations; give one for each frame")
    for frame in frames:
        _check_image(frame, frames[0], source)
    return frames, truths


def _check_names(images: Sequence[str], annotated: Sequence[Path], annotations: Path) -> None:
    """Raise InvalidInput unless images and the annotations of a folder have the same names."""
    masks = {path.stem for path in annotated}
    if missing := [name for name in images if name not in masks]:
        more = f", nor are {len(missing) - 1} others" if len(missing) > 1 else ""
        line = f"{annotations}/{missing[0]}.png: the annotation of a frame is not there{more}"
        raise InvalidInput(f"{line}; give one for each frame")
    if more_masks := sorted(masks.difference(images)):
        raise InvalidInput(f"{annotations}/{more_masks[0]}.png: the frame that it annotates is not there; give both")


def _check_image(frame: MaskedFrame, first: MaskedFrame, source: Path) -> None:
    """Raise InvalidInput unless a frame was read and has the size of the first."""
    if frame.frame.image is None:
        raise InvalidInput(f"{source}: frame {frame.frame.name} is {frame.frame.problem}; {_LEAVE_OUT}")
    if first.frame.image is not None and frame.frame.image.shape != first.frame.image.shape:
        raise InvalidInput(f"{source}: frame {frame.frame.name} has another shape than the first; {_LEAVE_OUT}")


def _videos_of(videos: Path, name: str) -> list[Path]:
    """Video files of a sequence: those with its name, or with the part of it before the first hyphen."""
    return sorted(path for path in videos.glob("*.mp4") if path.stem in (name, name.partition("-")[0]))


def _video_of(videos: Path, name: str) -> Path:
    found = _videos_of(videos, name)
    if not found:
        raise InvalidInput(f"--videos {videos}: there is no {name}.mp4; add it or leave out the sequence")
    return found[0]
