"""Where things lie in a store. Every key is made here, so the tree can be read off one page.

worlds/WORLD.json                             a drawn world's record
extractions/RECIPE/plans/PLAN/listing.json.gz    every video taken, with its ETag
extractions/RECIPE/plans/PLAN/removed.json.gz    videos that were extracted and are listed no more
extractions/RECIPE/plans/PLAN/malformed.json.gz  rows of the list that could not be read
extractions/RECIPE/plans/PLAN/00003.json      the videos of shard 3
extractions/RECIPE/shards/PLAN/00003-0.json   record of shard 3's first part: the commit of the files it names
extractions/RECIPE/shards/PLAN/00003-0-SHA.tar        kept frames
extractions/RECIPE/shards/PLAN/00003-0-SHA.index.json.gz  where each of them lies in it
extractions/RECIPE/shards/PLAN/00003-0-SHA.audit.tar  a few rejected frames, for the report
datasets/DATASET.json                         snapshot: the shards a training reads
datasets/DATASET.ATTRIBUTION.tsv.gz           who made the videos that its frames come from
backbones/BACKBONE/…                          checkpoints, backbone-SHA256.safetensors,
                                                  mask_network-SHA256.safetensors, record.json
proposals/SETTINGS/PICTURE.npz                selective search boxes of one picture
evaluations/EVALUATION/…                      checkpoints, devkit detection files, record.json
classifications/CLASSIFICATION/LAYER.json     what linear classifiers make of one layer of a trunk
champions/PROTOCOL/00001.json                 the first best backbone under a protocol of evaluation, and so on
champions/PROTOCOL/champion.json              the present one
runs/RUN/STEP.json                            what each step of a run decided or made
runs/RUN/result.json                          mean average precision over seeds, with its spread
runs/RUN/FIGURE.svg                           the report's figures
runs/RUN/report.html                          the report
"""

import re

from watchmove.pipeline.errors import InvalidInput

_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def world(world_id: str) -> str:
    """Key of the record of a drawn world."""
    return f"worlds/{world_id}.json"


def run_record(run: str, step: str) -> str:
    """Key of what `step` says about `run`; `step` may carry an index.

    Raises:
        InvalidInput: the run's name could leave its folder or does not fit in a key.
    """
    if not _RUN_NAME.fullmatch(run) or ".." in run:
        raise InvalidInput(f"run {run!r}: a run's name is letters, digits, '.', '_' and '-', at most 128 of them")
    return f"runs/{run}/{step}.json"


def report(run: str) -> str:
    """Key of a run's report."""
    return run_record(run, "report").removesuffix(".json") + ".html"


def figure(run: str, name: str) -> str:
    """Key of a figure of a run's result."""
    return f"{run_record(run, name).removesuffix('.json')}.svg"


def listing(recipe: str, plan: str) -> str:
    """Key of the list of all videos that a plan saw."""
    return plan_file(recipe, plan, "listing")


def plan_file(recipe: str, plan: str, name: str) -> str:
    """Key of what a plan writes beside its shards' lists."""
    return f"extractions/{recipe}/plans/{plan}/{name}.json.gz"


def shard_list(recipe: str, plan: str, shard: int) -> str:
    """Key of the list of videos that one shard extracts."""
    return f"extractions/{recipe}/plans/{plan}/{shard:05d}.json"


def shard_records(recipe: str) -> str:
    """Prefix under which every shard record of a recipe lies."""
    return f"extractions/{recipe}/shards/"


def shard_part(recipe: str, plan: str, shard: int, part: int) -> str:
    """Stem of one part of a shard: `.json` makes it the record, `-SHA.tar` the data."""
    return f"{shard_parts(recipe, plan, shard)}{part}"


def shard_parts(recipe: str, plan: str, shard: int) -> str:
    """Prefix of all parts of one shard."""
    return f"{shard_records(recipe)}{plan}/{shard:05d}-"


def dataset(dataset_id: str) -> str:
    """Key of a dataset snapshot."""
    return f"datasets/{dataset_id}.json"


def attribution(dataset_id: str) -> str:
    """Key of the credits of a dataset snapshot."""
    return f"datasets/{dataset_id}.ATTRIBUTION.tsv.gz"


def backbone(backbone_id: str, name: str) -> str:
    """Key of a file of a pretraining: its record, its weights or a checkpoint."""
    return f"backbones/{backbone_id}/{name}"


def all_proposals(settings: str) -> str:
    """Prefix of the boxes that selective search finds with some settings."""
    return f"proposals/{settings}/"


def proposals(settings: str, picture: str) -> str:
    """Key of those in one picture."""
    return f"{all_proposals(settings)}{picture}.npz"


def champion(protocol: str, name: str) -> str:
    """Key of a promotion under a protocol, by its number, or of the present `champion`."""
    return f"champions/{protocol}/{name}.json"


def evaluation(evaluation_id: str, name: str) -> str:
    """Key of a file of an evaluation: its record or a devkit detection file."""
    return f"evaluations/{evaluation_id}/{name}"


def classification(classification_id: str, layer: str) -> str:
    """Key of what linear classifiers make of one layer of a trunk."""
    return f"classifications/{classification_id}/{layer}.json"
