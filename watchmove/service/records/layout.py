"""The keys of all objects in a store. Every key is made here, so that one page shows the complete layout.

worlds/WORLD.json                             a drawn world's record
extractions/RECIPE/plans/PLAN/listing.json.gz    every video of the list, with its ETag
extractions/RECIPE/plans/PLAN/removed.json.gz    videos that were extracted and are no longer listed
extractions/RECIPE/plans/PLAN/malformed.json.gz  rows of the list that could not be read
extractions/RECIPE/plans/PLAN/00003.json      the videos of shard 3
extractions/RECIPE/shards/PLAN/00003-0.json   record of shard 3's first part: the commit of the files it names
extractions/RECIPE/shards/PLAN/00003-0-SHA.tar        kept frames
extractions/RECIPE/shards/PLAN/00003-0-SHA.index.json.gz  the position of each kept frame in the tar
extractions/RECIPE/shards/PLAN/00003-0-SHA.audit.tar  a few rejected frames, for the report
extractions/RECIPE/shards/PLAN/00003-0-SHA.verdicts.json.gz  what was measured of every examined frame
extractions/RECIPE/shards/PLAN/00003-0-SHA.stages.tar  one frame through all stages of its mask, for the report
extractions/RECIPE/attempts.npz               the outcomes of all shard records in columns, for the exporter
controls/DATASET/00000-SHA.tar                frames with other masks, and their index
datasets/DATASET.json                         snapshot: the shards a training reads
datasets/DATASET.ATTRIBUTION.tsv.gz           who made the videos that its frames come from
backbones/BACKBONE/…                          checkpoints until the training has ended, backbone-SHA256.safetensors,
                                                  mask_network-SHA256.safetensors, record.json
backbones/BACKBONE/predictions-SHA.tar        predictions for a few held-out crops over the training, for the report
proposals/SETTINGS/PICTURE.npz                selective search boxes of one image
evaluations/EVALUATION/…                      checkpoints, devkit detection files, record.json
classifications/CLASSIFICATION/LAYER.json     scores of linear classifiers on one layer of a trunk
champions/PROTOCOL/00001.json                 first promoted backbone under an evaluation protocol, and so on
champions/PROTOCOL/champion.json              the present champion
claims/SERIES/cells/CELL.json                 what a cell of the claims' series computed
claims/SERIES/claims.json                     the claims of a series, with their figures
claims/SERIES/claims.html                     the same as a page
runs/RUN/STEP.json                            what each step of a run decided or made
runs/RUN/pretrain.json                        the run's backbones by the seed of their pretraining
runs/RUN/failure-STEP.json                    that a step has failed, until it has done its work
runs/RUN/result.json                          mean average precision over seeds, with its spread
runs/RUN/FIGURE.svg                           the report's figures
runs/RUN/report/index.html                    the report, and beside it its pictures, named by their content
runs/RUN/report.html                          the same in one file, if it was asked for
forgotten/receipts/RECEIPT.json               works that are forgotten, by hashes, and what was removed of them
forgotten/datasets/DATASET.json               mark of a snapshot that has had frames of forgotten works
forgotten/backbones/BACKBONE.json             mark of a backbone that has learnt from forgotten works
"""

import re

from watchmove.pipeline.errors import InvalidInput

_DIGEST_DIGITS = 12
"""Digits of a file's SHA-256 in its name."""
_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""The name of a run becomes part of a key; 128 letters are a bound set by hand."""


def is_record(key: str) -> bool:
    """Whether a key is that of a record, and not of a file such as `.DS_Store` or `._NAME`, which desktops add."""
    name = key.rpartition("/")[2]
    return name.endswith(".json") and not name.startswith(".")


def world(world_id: str) -> str:
    """Key of the record of a drawn world."""
    return f"worlds/{world_id}.json"


def all_claims() -> str:
    """Prefix of the records of all series of claims."""
    return "claims/"


def claims(series: str, name: str) -> str:
    """Key of a record of a series of claims."""
    return f"claims/{series}/{name}.json"


def claims_page(series: str) -> str:
    """Key of the page of a series of claims."""
    return f"claims/{series}/claims.html"


def all_runs() -> str:
    """Prefix of the records of all runs."""
    return "runs/"


def run_record(run: str, step: str) -> str:
    """Key of the record of `step` for `run`; `step` may end in an index.

    Raises:
        InvalidInput: the run's name is too long, or has a letter that could leave its folder.
    """
    if not _RUN_NAME.fullmatch(run) or ".." in run:
        raise InvalidInput(f"run {run!r}: a run's name is letters, digits, '.', '_' and '-', at most 128 of them")
    return f"runs/{run}/{step}.json"


def failure(run: str, step: str) -> str:
    """Key of the record that `step` has failed; both arguments are those of `run_record`, and so are the errors."""
    return run_record(run, f"failure-{step}")


def run_records(run: str) -> str:
    """Prefix of all records of a run. Raises InvalidInput as `run_record` does."""
    return run_record(run, "").removesuffix(".json")


def report(run: str) -> str:
    """Key of the page of a run's report; its pictures are in the same folder."""
    return run_record(run, "report").removesuffix(".json") + "/index.html"


def single_file_report(run: str) -> str:
    """Key of a run's report with its pictures inside the page."""
    return run_record(run, "report").removesuffix(".json") + ".html"


def figure(run: str, name: str) -> str:
    """Key of a figure of a run's result."""
    return f"{run_record(run, name).removesuffix('.json')}.svg"


def all_extractions() -> str:
    """Prefix of the plans and shards of all recipes."""
    return "extractions/"


def plans(recipe: str) -> str:
    """Prefix of the lists of all plans of a recipe."""
    return f"extractions/{recipe}/plans/"


def listing(recipe: str, plan: str) -> str:
    """Key of the list of all videos of a plan."""
    return plan_file(recipe, plan, "listing")


def plan_file(recipe: str, plan: str, name: str) -> str:
    """Key of a compressed list of a plan, other than the lists of its shards."""
    return f"{plans(recipe)}{plan}/{name}.json.gz"


def shard_list(recipe: str, plan: str, shard: int) -> str:
    """Key of the list of videos that one shard extracts."""
    return f"{plans(recipe)}{plan}/{shard:05d}.json"


def shard_records(recipe: str) -> str:
    """Prefix of all shard records of a recipe."""
    return f"extractions/{recipe}/shards/"


def shard_part(recipe: str, plan: str, shard: int, part: int) -> str:
    """Stem of one part of a shard: `.json` makes it the record, `-SHA.tar` the data."""
    return f"{shard_parts(recipe, plan, shard)}{part}"


def shard_parts(recipe: str, plan: str, shard: int) -> str:
    """Prefix of all parts of one shard."""
    return f"{shard_records(recipe)}{plan}/{shard:05d}-"


def attempts(recipe: str) -> str:
    """Key of the compacted snapshot of a recipe's shard records."""
    return f"{all_extractions()}{recipe}/attempts.npz"


def all_controls() -> str:
    """Prefix of the tars of all controls."""
    return "controls/"


def control(dataset_id: str, name: str) -> str:
    """Key of a tar of frames with other masks than their own."""
    return f"{all_controls()}{dataset_id}/{name}"


def all_datasets() -> str:
    """Prefix of all dataset snapshots and their credits."""
    return "datasets/"


def dataset(dataset_id: str) -> str:
    """Key of a dataset snapshot."""
    return f"{all_datasets()}{dataset_id}.json"


def attribution(dataset_id: str) -> str:
    """Key of the credits of a dataset snapshot."""
    return f"datasets/{dataset_id}.ATTRIBUTION.tsv.gz"


def all_backbones() -> str:
    """Prefix of the files of all pretrainings."""
    return "backbones/"


def backbone(backbone_id: str, name: str) -> str:
    """Key of a file of a pretraining: its record, its weights or a checkpoint."""
    return f"{all_backbones()}{backbone_id}/{name}"


def all_proposals(settings: str) -> str:
    """Prefix of the boxes that selective search finds with settings of the hash `settings`."""
    return f"proposals/{settings}/"


def proposals(settings: str, picture: str) -> str:
    """Key of the boxes that selective search finds in one image."""
    return f"{all_proposals(settings)}{picture}.npz"


def champion(protocol: str, name: str) -> str:
    """Key of a promotion under a protocol, by its number, or of the present `champion`."""
    return f"champions/{protocol}/{name}.json"


def evaluation(evaluation_id: str, name: str) -> str:
    """Key of a file of an evaluation: its record or a devkit detection file."""
    return f"evaluations/{evaluation_id}/{name}"


def classification(classification_id: str, layer: str) -> str:
    """Key of the scores of linear classifiers on one layer of a trunk."""
    return f"classifications/{classification_id}/{layer}.json"


def all_receipts() -> str:
    """Prefix of the receipts of forgotten works."""
    return "forgotten/receipts/"


def receipt(receipt_id: str) -> str:
    """Key of the receipt of a request to forget works."""
    return f"{all_receipts()}{receipt_id}.json"


def learnt_dataset(dataset_id: str) -> str:
    """Key of the mark of a dataset snapshot that has had frames of forgotten works."""
    return f"forgotten/datasets/{dataset_id}.json"


def learnt_backbone(backbone_id: str) -> str:
    """Key of the mark of a backbone that has learnt from forgotten works."""
    return f"forgotten/backbones/{backbone_id}.json"


def with_digest(stem: str, sha256: str, suffix: str) -> str:
    """Key or name of a file that is named by its content, so that two processes never write one key differently."""
    return f"{stem}-{sha256[:_DIGEST_DIGITS]}{suffix}"


def without_digest(key: str, suffix: str) -> str:
    """Return the stem that `with_digest` was given for a key, or all before the suffix if it has no digest."""
    return re.sub(rf"-[0-9a-f]{{{_DIGEST_DIGITS}}}$", "", key.removesuffix(suffix))
