"""Rows per second of a reading of YFCC100M's metadata, and seconds and peak memory of planning a large list.

    python tests/bench/planning.py --rows 2000000 --videos 800000

The metadata is made up, with the columns and lengths of the real file and one video in 125 rows. One thread reads it
from a plain file. Two threads unpack a part of it from a .bz2, and what 100 million rows take at that pace is said too.
Then lists of videos alone are planned: once at first, and again when all of them have ended and a thousand are new.
Each measurement is a process of its own; the first row is a process that only loads the program.
"""

import argparse
import bz2
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from watchmove.service.planning.sources.listed import Tally
from watchmove.service.planning.sources.yfcc100m import hash_of, videos_in
from watchmove.service.records import layout
from watchmove.service.records.outcomes import Outcome, ShardRecord, Video, VideoOutcome
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import from_json_lines, origin
from watchmove.service.settings.loading import LAPTOP, load_settings
from watchmove.service.settings.settings import Settings
from watchmove.service.store.opening import open_store
from watchmove.service.store.text_stream import text_of

PHOTOS_FOR_A_VIDEO = 124
"""About the ratio in YFCC100M: 99.2 million photos and 0.8 million videos."""
ROWS_OF_YFCC100M = 100_000_000
"""Photos and videos in YFCC100M."""
NEW_VIDEOS = 1000
"""Videos that the second plan's list adds. Set by hand."""
_UNITS_OF_MAXRSS = 2**20 if sys.platform == "darwin" else 2**10
"""Divides `ru_maxrss` into MiB: macOS gives bytes, Linux KiB."""
_LICENCES = ("", "-NonCommercial", "-ShareAlike", "-NonCommercial-ShareAlike", "-NoDerivs", "-NonCommercial-NoDerivs")
_TITLES = ("", "IMG_{0}", "Around+the+waterpipe", "Caf%C3%A9+in+the+evening+%28{0}%29", "Our+trip%2C+day+{0}")
_DEVICES = ("", "Nokia+N950", "Canon+EOS+DIGITAL+REBEL+XT", "OLYMPUS+IMAGING+CORP.+E-410")
_TEXTS = ("", "", "hubby+%26+wifey", "Taken+on+a+walk+through+the+old+town%2C+shortly+before+it+began+to+rain.%0A" * 4)
_TAGS = ("", "2005,europe,london", "architecture,battle+abbey,east+sussex,hastings,heritage,texture,walls")


def main() -> None:
    """Make the files, measure reading and planning, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000, help="rows of the metadata that is read")
    parser.add_argument(
        "--packed-rows", type=int, default=300_000, help="rows of the metadata that is read from a .bz2"
    )
    parser.add_argument("--videos", type=int, default=800_000, help="videos of the list that is planned")
    parser.add_argument("--only-read", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only_read:
        read(options.only_read)
        return
    table = Table(title=f"{options.rows:,} rows read; {options.videos:,} videos planned")
    for heading in ("", "wall seconds", "processor seconds", "peak MiB", "rows per processor second"):
        table.add_column(heading, justify="right" if heading else "left")
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as name:
        measure(Path(name), options.rows, options.packed_rows, options.videos, table)
    Console().print(table)


def measure(folder: Path, rows: int, packed_rows: int, videos: int, table: Table) -> None:
    """Measure, and add the table's rows."""
    loaded = measured(["-m", "watchmove", "settings"])
    table.add_row("the program alone", *in_words(loaded))
    metadata = folder / "yfcc100m_dataset-mixed"
    write(metadata, (row(number, number % (PHOTOS_FOR_A_VIDEO + 1) == 0) for number in range(rows)))
    reading = measured([__file__, "--only-read", str(metadata)])
    table.add_row(f"read {metadata.stat().st_size >> 20:,} MiB", *in_words(reading), f"{rows / reading[1]:,.0f}")
    metadata.unlink()
    packed = folder / "yfcc100m_dataset.bz2"
    with bz2.open(packed, "wt", encoding="utf-8") as file:
        file.writelines(row(number, number % (PHOTOS_FOR_A_VIDEO + 1) == 0) for number in range(packed_rows))
    reading = measured([__file__, "--only-read", str(packed)])
    table.add_row(f"read {packed_rows:,} rows of a .bz2", *in_words(reading), f"{packed_rows / reading[1]:,.0f}")
    wall, processor = ((reading[part] - loaded[part]) * ROWS_OF_YFCC100M / packed_rows for part in (0, 1))
    table.add_row(f"at this pace {ROWS_OF_YFCC100M:,}", f"{wall:.0f}", f"{processor:.0f}", "", "")
    for run, count in (("first", videos), ("more", videos + NEW_VIDEOS)):
        listed = folder / f"yfcc100m_dataset-{run}"
        write(listed, (row(number, True) for number in range(count)))
        words = [f"store=file://{folder}/store", "videos=s3://multimedia-commons", f"plan.manifest=file://{listed}"]
        places = [part for word in (*words, "plan.max_shard_videos=100") for part in ("--set", word)]
        planning = measured(["-m", "watchmove", "plan", "--run", run, *places])
        table.add_row(f"plan {count:,}", *in_words(planning), "")
        if run == "first":
            end_all(load_settings(LAPTOP, words), run)


def end_all(settings: Settings, run: str) -> None:
    """Write a record for every shard, as plain files, in which every video was rejected."""
    store = Path(settings.store.removeprefix("file://"))
    plan = PlanRecord.model_validate_json((store / layout.run_record(run, "plan")).read_bytes())
    for shard in range(plan.shards):
        lines = (store / layout.shard_list(plan.recipe, plan.plan, shard)).read_bytes()
        videos: list[Video] = from_json_lines(lines, Video, run)
        rows = tuple(VideoOutcome(video=video, outcome=Outcome.REJECTED, reason="no-motion") for video in videos)
        stem = layout.shard_part(plan.recipe, plan.plan, shard, 0)
        facts = {"plan": plan.plan, "shard": shard, "part": 0, "seconds": 1.0, "data_bytes": 10240}
        names = {
            "data_key": f"{stem}-0.tar",
            "index_key": f"{stem}-0.index.json.gz",
            "audit_key": f"{stem}-0.audit.tar",
        }
        record = ShardRecord(made_by=origin(settings, {}), data_sha256="0" * 64, videos=rows, **facts, **names)
        path = store / f"{stem}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(record.model_dump_json(indent=1))


def read(path: Path) -> None:
    """Read a metadata file as planning does."""
    store = open_store(f"file://{path.parent}")
    item = store.head(path.name)
    if item is None:
        sys.exit(f"{path}: no such file; give the metadata that this benchmark writes")
    tally = Tally()
    found = sum(1 for _ in videos_in(text_of(store, item), str(path), tally))
    if tally.rows_malformed or not found:
        sys.exit(f"{path}: {found} videos, {tally.text()}")


def measured(arguments: list[str]) -> tuple[float, float, float]:
    """Run a Python process, and return its wall seconds, processor seconds and peak MiB."""
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{arguments}: exit code {process.returncode}; its message is above")
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / _UNITS_OF_MAXRSS


def in_words(figures: tuple[float, float, float]) -> tuple[str, str, str]:
    """Return the cells of a row."""
    return f"{figures[0]:.1f}", f"{figures[1]:.1f}", f"{figures[2]:.0f}"


def write(path: Path, rows: Iterator[str]) -> None:
    """Write rows to a file."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(rows)


def row(number: int, video: bool) -> str:
    """Return a row of 25 columns, about as long as the real ones."""
    owner, identity, secret = f"{number % 99_999_989:08d}@N{number % 9:02d}", 2_000_000_000 + number, f"{number:010x}"
    photo_url = f"http://farm{number % 9}.staticflickr.com/{number % 9999}/{identity}_{secret}.jpg"
    download = f"http://www.flickr.com/videos/{owner}/{identity}/play/orig/{secret}" if video else photo_url
    licence = _LICENCES[number % len(_LICENCES)]
    place = ("24.9384", "60.1699", "16") if number % 2 else ("", "", "")
    title = _TITLES[number % len(_TITLES)].format(number)
    name, text, tags = f"name+of+{number}", _TEXTS[number % len(_TEXTS)], _TAGS[number % len(_TAGS)]
    identity_columns = (number, identity, hash_of(download), owner, name, "2011-09-10 21:13:32.0", 1316432672)
    content_columns = (_DEVICES[number % len(_DEVICES)], title, text, tags, "", *place)
    page = f"http://www.flickr.com/{'videos' if video else 'photos'}/{owner}/{identity}/"
    short = licence.lower().replace("-noncommercial", "-nc").replace("-sharealike", "-sa").replace("-noderivs", "-nd")
    licence_columns = (f"Attribution{licence} License", f"http://creativecommons.org/licenses/by{short}/2.0/")
    file_columns = (number % 9999, number % 9, secret, f"{number:010x}", "jpg", int(video))
    return (
        "\t".join(map(str, (*identity_columns, *content_columns, page, download, *licence_columns, *file_columns)))
        + "\n"
    )


if __name__ == "__main__":
    main()
