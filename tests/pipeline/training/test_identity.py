"""The identity of a training."""

import hashlib

from watchmove.pipeline.training.identity import training_identity


def test_checkpoints_of_earlier_versions_keep_their_identity() -> None:
    """The hashed text is the JSON list of the parts: a change would make every written checkpoint useless."""
    text = '[{"rate": 0.1, "decay": 0}, ["dog"]]'

    identity = training_identity({"rate": 0.1, "decay": 0}, ["dog"])

    assert identity == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_with_sorted_keys_the_order_of_a_mapping_does_not_count() -> None:
    """The detector's identity has always been made from sorted keys."""
    first, second = {"rate": 0.1, "decay": {"b": 0, "a": 1}}, {"decay": {"a": 1, "b": 0}, "rate": 0.1}

    assert training_identity(first, sort_keys=True) == training_identity(second, sort_keys=True)
    assert training_identity(first) != training_identity(second)
