"""A backbone's weights out of the store, as its record describes them."""

import hashlib
from pathlib import Path

from pipeline.errors import InvalidInput
from service.store import Store
from service.training_records import BackboneRecord


def fetch_backbone(store: Store, record: BackboneRecord, target: Path) -> Path:
    """A local file with the record's weights, its bytes those that were written when the record was.

    Raises:
        InvalidInput: the weights are gone, or are other bytes than the record's sha256 says.
        Unavailable: the store cannot be reached.
    """
    where = f"{store.uri}/{record.weights_key}"
    path = store.local(record.weights_key, target)
    if path is None:
        raise InvalidInput(f"{where}: gone; remove its record and pretrain again")
    found = sha256_of(path)
    if found != record.weights_sha256:
        raise InvalidInput(
            f"{where}: sha256 is {found}, its record says {record.weights_sha256}; remove the record and pretrain again"
        )
    return path


def sha256_of(path: Path) -> str:
    """Of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
