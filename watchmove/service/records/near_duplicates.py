"""Which videos of a run repeat another one, by the fingerprints in the records of extraction."""

import numpy as np

from watchmove.pipeline.extraction.near_duplicate_videos import near_duplicate_videos
from watchmove.service.records.attempts import AttemptTable, Rows


def near_duplicate_rows(table: AttemptTable, rows: Rows) -> Rows:
    """Return a mask (N,) of the attempts in `rows`, a mask (N,), whose video repeats another one in `rows`.

    Of several, the one with most kept frames stays, and of equals that with the least id, in whatever order their
    records were read. Videos without kept frames repeat none.
    """
    numbers = np.flatnonzero(rows & (table.frames_kept > 0))
    best_first = np.lexsort((table.video[numbers], -table.frames_kept[numbers].astype(np.int64)))
    return near_duplicate_videos(table.hashes, table.hash_count, numbers[best_first])
