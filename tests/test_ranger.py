"""Ranger: the numbers of the optimiser that StyleCLIP and CF-CLIP train with."""

import torch

from lib.methods.ranger import Ranger


def test_weights_follow_the_published_optimiser(published, conforms):
    recorded = published("cfclip/ranger")
    weight, bias = (torch.nn.Parameter(recorded[name].clone()) for name in ("weight", "bias"))
    optimizer = Ranger([weight, bias], lr=recorded["lr"].item())
    for step in range(len(recorded["grad_weight"])):
        weight.grad, bias.grad = recorded["grad_weight"][step], recorded["grad_bias"][step]
        optimizer.step()
        conforms(weight, recorded["weight_after"][step])
        conforms(bias, recorded["bias_after"][step])


def test_state_that_is_saved_and_loaded_goes_on_bit_for_bit():
    def steps(optimizer, weight, first, last):
        for i in range(first, last):
            weight.grad = torch.randn(3, 4, generator=torch.Generator().manual_seed(i))
            optimizer.step()

    whole, half = (torch.nn.Parameter(torch.ones(3, 4)) for _ in range(2))
    steps(Ranger([whole], 0.5), whole, 0, 20)
    before = Ranger([half], 0.5)
    steps(before, half, 0, 9)
    after = torch.nn.Parameter(half.detach().clone())
    resumed = Ranger([after], 0.5)
    resumed.load_state_dict(before.state_dict())
    steps(resumed, after, 9, 20)
    assert torch.equal(after, whole)


def test_weights_without_a_gradient_are_left_alone():
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = Ranger([weight], 0.5)
    optimizer.step()
    assert torch.equal(weight.detach(), torch.ones(3)) and not optimizer.state[weight]
