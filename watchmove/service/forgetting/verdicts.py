"""Takes the verdicts on the frames of forgotten works out of the files of shards."""

import hashlib
from typing import Any

from watchmove.service.records import layout
from watchmove.service.records.frame_verdicts import VERDICTS
from watchmove.service.store.store import Store


def shorten_verdicts(store: Store, facts: dict[str, Any]) -> str:
    """Write the verdicts on the videos of a shard's record, given as JSON, as another file, and name that in it.

    Each video's verdicts are a stream of their own, whose bytes stay. The file of before is left in the store. Returns
    the key of the new file, "" if there are no verdicts. Raises Unavailable if the store cannot be reached.
    """
    key = facts.get("verdicts_key", "")
    if not key:
        return ""
    data, kept = store.read(key) or b"", bytearray()
    for row in facts["videos"]:
        # A file that is absent or too short must not keep a work from being forgotten.
        begin, size_bytes = row.pop("verdicts", (0, 0))
        verdicts = data[begin : begin + size_bytes]
        if verdicts and len(verdicts) == size_bytes:
            row["verdicts"] = [len(kept), size_bytes]
            kept += verdicts
    if not kept:
        # as extraction leaves it out where it has none
        del facts["verdicts_key"]
        return ""
    stem = layout.without_digest(key, VERDICTS)
    new = layout.with_digest(stem, hashlib.sha256(kept).hexdigest(), VERDICTS)
    store.write(new, bytes(kept))
    facts["verdicts_key"] = new
    return new
