"""Normalisation over ranks, in a group of one: what PyTorch's own gives, forwards, backwards and remembered."""

from collections.abc import Iterator

import pytest
import torch
import torch.distributed
from torch import Tensor, nn

from watchmove.pipeline.training.shared_normalisation import SharedNorm1d, SharedNorm2d, share_normalisation


@pytest.fixture(scope="module", autouse=True)
def _group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """This process alone, by gloo."""
    meeting = tmp_path_factory.mktemp("group") / "meeting"
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def both(shape: tuple[int, ...], offset: float = 0.0) -> tuple[nn.Module, nn.Module, Tensor, Tensor]:
    """PyTorch's normalisation and the shared one with the same weights, and a leaf of equal values for each."""
    generator = torch.Generator().manual_seed(3)
    plain = nn.BatchNorm2d(shape[1]) if len(shape) == 4 else nn.BatchNorm1d(shape[1])
    nn.init.uniform_(plain.weight, 0.5, 1.5, generator=generator)
    nn.init.normal_(plain.bias, generator=generator)
    parent = nn.Sequential(type(plain)(shape[1]))
    parent[0].load_state_dict(plain.state_dict())
    share_normalisation(parent)
    values = torch.randn(shape, generator=generator) + offset
    return plain, parent[0], values.clone().requires_grad_(), values.clone().requires_grad_()


@pytest.mark.parametrize("shape", [(8, 5, 7, 9), (6, 11)])
def test_it_is_pytorchs_normalisation(shape: tuple[int, ...]) -> None:
    """Output, gradients of values, weight and bias, and running statistics, to 1e-5."""
    plain, shared, values, its_values = both(shape)
    pull = torch.randn(shape, generator=torch.Generator().manual_seed(4))
    output, its_output = plain(values), shared(its_values)
    output.backward(pull)
    its_output.backward(pull)

    assert isinstance(shared, SharedNorm2d if len(shape) == 4 else SharedNorm1d)
    torch.testing.assert_close(its_output, output, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(its_values.grad, values.grad, atol=1e-5, rtol=1e-5)
    for (name, parameter), other in zip(plain.named_parameters(), shared.parameters(), strict=True):
        torch.testing.assert_close(other.grad, parameter.grad, atol=1e-4, rtol=1e-5, msg=name)
    for (name, buffer), other_buffer in zip(plain.named_buffers(), shared.buffers(), strict=True):
        torch.testing.assert_close(other_buffer, buffer, atol=1e-6, rtol=1e-5, msg=name)


def test_gradients_are_those_of_differences() -> None:
    """By small steps in float64."""
    norm = SharedNorm2d(3).double()
    values = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(5), dtype=torch.float64)

    assert torch.autograd.gradcheck(norm, values.requires_grad_(), atol=1e-6)


def test_far_from_zero_no_digit_is_lost() -> None:
    """Values around 1000: sums of squares in 32 bits would leave nothing of a variance of 1."""
    _, shared, _, values = both((64, 3, 8, 8), offset=1000.0)
    output = shared(values)
    deviation = (output.detach().transpose(0, 1).flatten(1).std(1) / shared.get_parameter("weight")).detach()

    assert deviation.tolist() == pytest.approx([1] * 3, abs=1e-3)


def test_in_evaluation_it_is_the_one_it_replaces() -> None:
    """By running statistics, nothing asked of other ranks."""
    plain, shared, values, _ = both((2, 5, 3, 3))

    torch.testing.assert_close(shared.eval()(values), plain.eval()(values), atol=0, rtol=0)
