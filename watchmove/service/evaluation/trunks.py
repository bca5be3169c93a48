"""Trunks of evaluations from weights files that the settings name by URI."""

import dataclasses
from pathlib import Path
from typing import NamedTuple, get_args

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.networks.alexnet import AlexNet
from watchmove.pipeline.networks.weight_mapping import Layout, load_mapped, refuse_pickled
from watchmove.service.records.training import MappedWeights
from watchmove.service.settings.settings import settings_hash
from watchmove.service.store.opening import open_store


class NamedWeights(NamedTuple):
    """A weights file that the settings name; `identity` changes when the file or its layout does."""

    uri: str
    layout: Layout | None
    identity: str


def named_weights(initialisation: str) -> NamedWeights:
    """The file of `URI` or `URI#layout`. Raises InvalidInput if it does not exist or would have to be unpickled."""
    uri, _, word = initialisation.partition("#")
    layouts: dict[str, Layout] = {layout: layout for layout in get_args(Layout)}
    folder, _, name = uri.rpartition("/")
    # By its name, so that such a file is refused before it is fetched.
    refuse_pickled(name)
    item = open_store(folder).head(name)
    if item is None:
        raise InvalidInput(f"{uri}: no such file; name the safetensors file of an AlexNet")
    # The ETag stands for the content, which is not downloaded if the evaluation is found in the store.
    return NamedWeights(uri, layouts.get(word), settings_hash(uri, item.etag, word))


def load_named(weights: NamedWeights, seed: int, scratch: Path) -> tuple[AlexNet, MappedWeights]:
    """The trunk, and which tensors were loaded from the file. Raises InvalidInput if it is not an AlexNet."""
    folder, _, name = weights.uri.rpartition("/")
    path = open_store(folder).local(name, scratch / "weights.safetensors")
    if path is None:
        raise InvalidInput(f"{weights.uri}: deleted since the step began; restore it and run again")
    trunk, mapping = load_mapped(path, weights.layout, seed)
    return trunk, MappedWeights(**dataclasses.asdict(mapping))
