"""Our Muon compared with torch's, which differs only in the precision of its products."""

from __future__ import annotations

import copy

import pytest
import torch

from wmkml.understudy.muon import Muon, orthogonal

SHAPES = [(64, 64), (64, 192), (192, 64), (192, 64), (32, 64)]


def matrices() -> list[torch.nn.Parameter]:
    torch.manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape)) for shape in SHAPES]


def stepped(optimizer: torch.optim.Optimizer, parameters: list[torch.nn.Parameter]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()
    return [parameter.detach() for parameter in parameters]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 1e-6), (torch.float32, 2e-3)])
def test_it_steps_as_torchs_own_does(dtype: torch.dtype, tolerance: float) -> None:
    parameters, torch_parameters = matrices(), matrices()
    torch_muon = torch.optim.Muon(
        torch_parameters, lr=0.01, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    pairs = zip(
        stepped(Muon(parameters, lr=0.01, dtype=dtype), parameters),
        stepped(torch_muon, torch_parameters),
        matrices(),
        strict=True,
    )
    for stepped_by_us, stepped_by_torch, before in pairs:
        assert (stepped_by_us - before).abs().max() > 0.01
        assert torch.allclose(stepped_by_us, stepped_by_torch, atol=tolerance)


def test_an_update_is_nearly_orthogonal() -> None:
    torch.manual_seed(2)
    values = torch.linalg.svdvals(orthogonal(torch.randn(3, 48, 96), torch.float32))
    assert values.min() > 0.3 and values.max() < 1.5


def test_it_goes_on_where_it_was_and_takes_no_vectors() -> None:
    whole, broken = matrices(), matrices()
    first = Muon(broken, lr=0.01, dtype=torch.float32)
    stepped(first, broken)
    resumed = Muon(broken, lr=0.01, dtype=torch.float32)
    resumed.load_state_dict(copy.deepcopy(first.state_dict()))
    unbroken = Muon(whole, lr=0.01, dtype=torch.float32)
    stepped(unbroken, whole)
    for resumed_value, unbroken_value in zip(stepped(resumed, broken), stepped(unbroken, whole), strict=True):
        assert torch.equal(resumed_value, unbroken_value)
    with pytest.raises(ValueError, match=r"matrices.*\(7,\)"):
        Muon([torch.nn.Parameter(torch.zeros(7))])
