"""Weights files of a backbone, fetched from the store and checked against its record."""

from pathlib import Path

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.digest import file_sha256
from watchmove.service.records.training import BackboneRecord
from watchmove.service.store.store import Store


def fetch_backbone(store: Store, record: BackboneRecord, target: Path) -> Path:
    """A local file with the weights of the record's backbone.

    Raises:
        InvalidInput: the weights are missing, or their SHA-256 differs from the record's.
        Unavailable: the store cannot be reached.
    """
    return _fetch(store, record.weights_key, record.weights_sha256, target)


def fetch_mask_network(store: Store, record: BackboneRecord, target: Path) -> Path:
    """A local file with the weights of the record's mask network, which the record must have.

    Raises:
        InvalidInput: the weights are missing, or their SHA-256 differs from the record's.
        Unavailable: the store cannot be reached.
    """
    return _fetch(store, record.mask_network_key, record.mask_network_sha256, target)


def _fetch(store: Store, key: str, sha256: str, target: Path) -> Path:
    where = f"{store.uri}/{key}"
    path = store.local(key, target)
    if path is None:
        raise InvalidInput(f"{where}: missing; remove its record and pretrain again")
    found = file_sha256(path)
    if found != sha256:
        raise InvalidInput(
            f"{where}: sha256 is {found}, its record says {sha256}; remove the record and pretrain again"
        )
    return path
