"""Runs several ranks of one step on this machine by torchrun, and turns their exit codes into one.

    python -m watchmove.service.launch --standalone --nproc-per-node 8 -- pretrain --run NAME
    python -m watchmove.service.launch --nnodes 4 --node-rank 2 --master-addr HOST \
        --nproc-per-node 8 -- pretrain --run NAME

The arguments before `--` are torchrun's; those after it are a command of watchmove. torchrun itself exits with 1 for
every failure, which does not tell a lost node from a bug.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from torch.distributed import DistError
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import RendezvousError
from torch.distributed.run import parse_args, run

from watchmove.pipeline.files.numbers import whole_number_of
from watchmove.service.runner.exit_codes import BUG, DONE, INVALID_INPUT, STOPPED, UNAVAILABLE
from watchmove.service.runner.runner import report_error

_USAGE = "no command after `--`; call it as: TORCHRUN'S OPTIONS -- pretrain --run NAME"

_KILLED = 128
"""A shell reports a process killed by signal N as exit code 128 + N; torchrun reports it as -N."""

_SHUTDOWN_SECONDS = "110"
"""How long ranks may take to save a checkpoint after a signal; set by hand below the 120 s that argo/ grants a pod."""


def launch(words: Sequence[str]) -> int:
    """Run all ranks and return one exit code: that of a rank with invalid input or a bug, else of the first to fail."""
    if "--" not in words or words[-1] == "--":
        print(f"watchmove: {INVALID_INPUT.prefix}: {_USAGE}", file=sys.stderr)
        return INVALID_INPUT.exit_code
    at = list(words).index("--")
    # torchrun kills its ranks 30 s after a signal by default; a value that the caller has set is kept.
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", _SHUTDOWN_SECONDS)
    try:
        # Without the inner `--`, argparse would refuse `--run` as an ambiguous abbreviation of torchrun's `--run-path`.
        arguments = parse_args([*words[:at], "-m", "--", "watchmove", *words[at + 1 :]])  # type: ignore[no-untyped-call]
        share_threads(str(arguments.nproc_per_node))
        run(arguments)  # type: ignore[no-untyped-call]
    except ChildFailedError as error:
        return exit_code_of(error)
    # Raised after the signal was passed to the ranks, which have saved a checkpoint or were killed.
    except SignalException:
        return STOPPED.exit_code
    except (RendezvousError, DistError) as error:
        line = f"ranks did not rendezvous: {error}; check the address and that every node runs, or run again"
        print(f"watchmove: {UNAVAILABLE.prefix}: {line}", file=sys.stderr)
        return UNAVAILABLE.exit_code
    except OSError as error:  # torchrun writes temporary files
        return report_error(error)
    return DONE.exit_code


def share_threads(processes: str) -> None:
    """Divide `OMP_NUM_THREADS`, which is set for the whole machine, equally among its ranks."""
    # `gpu` and `auto` as the number of ranks are resolved inside torchrun; the threads are then left as they are.
    threads = os.environ.get("OMP_NUM_THREADS", "")
    with suppress(ValueError):
        if (ranks := whole_number_of(processes)) > 1:
            os.environ["OMP_NUM_THREADS"] = str(max(1, whole_number_of(threads) // ranks))


def exit_code_of(error: ChildFailedError) -> int:
    """Return one exit code for failed ranks.

    A rank that fails makes the others fail as they wait for it, so invalid input or a bug in any rank is the cause.
    """
    codes = [failure.exitcode for failure in error.failures.values()]
    for code in codes:
        if code in (INVALID_INPUT.exit_code, BUG.exit_code):
            return code
    # A killed rank gives 137, which argo/ retries as it does for a killed pod.
    first: int = error.get_first_failure()[1].exitcode
    return _KILLED - first if first < 0 else first


if __name__ == "__main__":
    sys.exit(launch(sys.argv[1:]))
