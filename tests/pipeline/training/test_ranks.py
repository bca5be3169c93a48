"""Ranks: their description in the environment, and errors of the connection between them."""

import pytest
import torch

from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.pipeline.training.ranks import Ranks, device_of, joined_ranks, lost_ranks_named, share_of_environment


def test_without_an_environment_there_is_one() -> None:
    """Alone: sums are one's own, and nothing is opened."""
    with joined_ranks("cpu", 1) as ranks:
        assert (ranks.is_first, ranks.are_several) == (True, False)
        assert ranks.total(1, 2.5) == [1.0, 2.5]
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"WORLD_SIZE": "two"}, r"WORLD_SIZE \(two\): is not a number"),
        ({"WORLD_SIZE": "1_0"}, r"WORLD_SIZE \(1_0\): is not a number"),
        ({"WORLD_SIZE": "４"}, r"WORLD_SIZE \(４\): is not a number"),
        ({"WORLD_SIZE": "-4"}, r"WORLD_SIZE \(-4\): is not a number"),
        ({"WORLD_SIZE": "2", "RANK": "2"}, r"RANK \(2\) is not below WORLD_SIZE \(2\)"),
    ],
)
def test_an_environment_that_names_no_rank(
    environment: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable is named, and what would do."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(InvalidInput, match=rf"{message}.*start the ranks with torchrun"):
        share_of_environment()


def test_ranks_of_a_machine_take_a_gpu_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks get GPUs by their local number; a third rank has none, and the error says so."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    assert [device_of("auto", rank) for rank in (0, 1)] == [torch.device("cuda", 0), torch.device("cuda", 1)]
    assert device_of("cpu", 1) == torch.device("cpu")
    with pytest.raises(InvalidInput, match="GPU 2 is not among the 2 here"):
        device_of("cuda", 2)


def test_errors_of_the_connection_alone_may_pass() -> None:
    """A bug that raises RuntimeError stays a bug."""
    with pytest.raises(Unavailable, match=r"a rank was lost: .*Connection closed by peer"), lost_ranks_named():
        raise RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1")
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), lost_ranks_named():
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


def test_the_first_alone_is_the_one_that_writes() -> None:
    """Whatever its device."""
    assert Ranks(torch.device("cpu")).is_first
