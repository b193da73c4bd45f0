"""Layers of frozen generators against the same layers step by step."""

import pytest
import torch
import torch.nn.functional as F

from models.biggan import ActivatedConv
from models.frozen.layers import ActivatedConvolution, Direct, Pointwise, Upsampling
from models.frozen.winograd import Winograd
from models.pggan import Conv
from models.stylegan2 import StyledLayer, UpsamplingLayer


@pytest.mark.parametrize("shape", [(1, 1, 1, 4, 4), (3, 5, 7, 8, 20), (2, 8, 6, 68, 64)])
def test_winograd_is_the_convolution_and_its_adjoint(shape):
    batch, inputs, outputs, height, width = shape
    torch.manual_seed(0)
    weight = torch.randn(outputs, inputs, 3, 3)
    x = torch.randn(batch, inputs, height, width, requires_grad=True)
    expected = F.conv2d(x, weight, padding=1)
    grad = torch.randn_like(expected)
    expected.backward(grad)
    winograd = Winograd(weight)
    for image, method, result in ((x, winograd.forward, expected), (grad, winograd.adjoint, x.grad)):
        padded, inside = winograd.room(image.permute(0, 2, 3, 1).shape)
        inside.copy_(image.detach().permute(0, 2, 3, 1))
        torch.testing.assert_close(method(padded).permute(0, 3, 1, 2), result.detach(), rtol=0, atol=1e-4)


@pytest.fixture(params=[(StyledLayer, 4), (StyledLayer, 16), (StyledLayer, 32), (UpsamplingLayer, 8)])
def layer_and_input(request):
    """A layer of each kind of convolution that there is, frozen, with noise and bias; its input."""
    kind, resolution = request.param
    torch.manual_seed(0)
    layer = kind(64, 70, 8, resolution).requires_grad_(False)
    layer.noise_strength.fill_(0.3)
    layer.bias.normal_()
    side = resolution // 2 if kind is UpsamplingLayer else resolution
    return layer, torch.randn(3, 64, side, side), torch.randn(3, 64)


def kind_of_convolution(layer):
    if isinstance(layer, UpsamplingLayer):
        return Upsampling
    return Winograd if layer.noise.shape[-1] >= 16 else Direct


def outcome(layer, x, style, grad):
    x, style = x.clone().requires_grad_(), style.clone().requires_grad_()
    out = layer(x, style)
    out.backward(grad)
    return out.detach(), x.grad, style.grad


@pytest.mark.parametrize("clamp", [None, 0.7])
def test_frozen_layer_is_the_layer_with_its_gradients(clamp, layer_and_input):
    layer, x, style = layer_and_input
    layer.conv_clamp = clamp
    grad = torch.randn(3, 70, *layer.noise.shape[2:])
    found = outcome(layer, x, style, grad)
    assert isinstance(layer._prepared.content[0], kind_of_convolution(layer))
    layer.requires_grad_(True)
    assert clamp is None or (found[0].abs() == clamp).float().mean() > 0.2
    for a, b in zip(found, outcome(layer, x, style, grad)):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    assert all(parameter.grad is not None for name, parameter in layer.named_parameters() if "style" not in name)


@pytest.mark.parametrize("resolution", [8, 16])
def test_frozen_progan_layer_is_the_layer_with_its_gradient(resolution):
    torch.manual_seed(0)
    layer = Conv(64, 70, 3, 1, 1.0)
    layer.bias.data.normal_()
    x, grad = torch.randn(2, 64, resolution, resolution), torch.randn(2, 70, resolution, resolution)
    found = []
    for frozen in (True, False):
        layer.requires_grad_(not frozen)
        given = x.clone().requires_grad_()
        out = layer(given)
        out.backward(grad)
        found += [out.detach(), given.grad]
    assert isinstance(layer._prepared.content, Winograd if resolution == 16 else Direct)
    torch.testing.assert_close(found[0], found[2], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[1], found[3], rtol=1e-4, atol=1e-4)
    assert layer.weight.grad is not None


def test_changed_weights_are_prepared_anew(layer_and_input):
    layer, x, style = layer_and_input
    before = layer(x, style)
    layer.weight.neg_()
    changed = layer(x, style)
    layer.weight = torch.nn.Parameter(-layer.weight, requires_grad=False)
    torch.testing.assert_close(layer(x, style), before)
    assert not torch.allclose(changed, before)


def test_frozen_layer_has_no_second_derivative(layer_and_input):
    layer, x, style = layer_and_input
    style.requires_grad_()
    grad = torch.autograd.grad(layer(x, style).square().sum(), style, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def counted(monkeypatch):
    """How often `ActivatedConvolution` was computed, as a list that grows."""
    calls, forward = [], ActivatedConvolution.forward
    monkeypatch.setattr(ActivatedConvolution, "forward", lambda *args: calls.append(1) or forward(*args))
    return calls


@pytest.mark.parametrize("doubled", [False, True])
@pytest.mark.parametrize(
    "outputs, kernel_size, side, kind", [(70, 3, 24, Winograd), (3, 3, 24, Direct), (70, 1, 24, Pointwise)]
)
def test_frozen_activated_convolution_is_the_one_step_by_step(outputs, kernel_size, side, kind, doubled, monkeypatch):
    """With factors of each sample, and in several parts that the memory is gone over in."""
    monkeypatch.setattr("models.frozen.layers.NUMBERS_AT_A_TIME", 64 * 24 * 7)
    calls = counted(monkeypatch)
    torch.manual_seed(0)
    layer = ActivatedConv(64, outputs, kernel_size)
    layer.bias.data.normal_()
    given = torch.randn(2, 64, side, side), torch.randn(2, 64), torch.randn(2, 64)
    grad, found = torch.randn(2, outputs, side << doubled, side << doubled), []
    for frozen in (True, False):
        layer.requires_grad_(not frozen)
        x, gain, offset = (part.clone().requires_grad_() for part in given)
        out = layer(x, (gain, offset), doubled)
        out.backward(grad)
        found.append([out.detach(), x.grad, gain.grad, offset.grad])
    assert isinstance(layer._prepared.content, kind) and len(calls) == 1
    for a, b in zip(*found):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * b.abs().max().item())
    assert layer.weight.grad is not None


def test_factors_that_all_samples_share(monkeypatch):
    calls = counted(monkeypatch)
    torch.manual_seed(0)
    layer, x = ActivatedConv(64, 8, 3).requires_grad_(False), torch.randn(2, 64, 24, 24)
    gain, offset = torch.randn(64), torch.randn(64)
    found = layer(x, (gain, offset))
    expected = F.conv2d(F.relu(x * gain[:, None, None] + offset[:, None, None]), layer.weight, padding=1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert len(calls) == 1


@pytest.mark.parametrize("shape", [(2, 32, 64, 64), (2, 128, 8, 8)])
def test_small_activations_go_step_by_step(shape, monkeypatch):
    calls, layer = counted(monkeypatch), ActivatedConv(shape[1], 8, 3).requires_grad_(False)
    layer(torch.randn(shape), (torch.ones(shape[1]), torch.zeros(shape[1])))
    assert not calls
