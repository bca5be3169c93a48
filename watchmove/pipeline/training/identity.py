"""The identity of a training, by which a checkpoint is recognised as one that the training may resume from."""

import hashlib
import json

_IDENTITY_DIGITS = 16
"""64 bits: two of a million different trainings share an identity with a probability below 1e-7."""


def training_identity(*parts: object, sort_keys: bool = False) -> str:
    """Return 16 hexadecimal digits that are equal for two trainings only if all `parts`, plain JSON values, are equal.

    `parts` are the settings and data that decide the weights. Without `sort_keys` the order of the keys of each
    mapping counts, so a caller must not change its choice: checkpoints written before would no longer be resumed.
    """
    content = json.dumps(parts, sort_keys=sort_keys)
    return hashlib.sha256(content.encode()).hexdigest()[:_IDENTITY_DIGITS]
