"""Transposed convolutions with fixed 4x4 weights and their activations on a CPU, as DCGAN has them.

Images are (B, C, H, W) in channels_last. One pass over the memory does for the activation, only the outcome is kept for
the backward pass, the first layer is a matrix product, and so is one with few channels out. `scripts.bench.transposed`
measures what that saves.
"""

import torch
import torch.nn.functional as F

FEW_CHANNELS = 8  # out; with fewer, a matrix product is faster (measured)


class FromPixel:
    """A single pixel (B, I, 1, 1) -> (B, O, 4, 4), with a weight (I, O, 4, 4)."""

    def __init__(self, weight):
        self.shape = weight.shape[2:] + weight.shape[1:2]
        self.weight = weight.permute(0, 2, 3, 1).flatten(1).contiguous()

    def forward(self, x, bias):
        out = x.flatten(1) @ self.weight
        return out.unflatten(1, self.shape).add_(bias).permute(0, 3, 1, 2)

    def adjoint(self, grad):
        return (grad.permute(0, 2, 3, 1).flatten(1) @ self.weight.T)[:, :, None, None]


class Doubling:
    """(B, I, H, W) -> (B, O, 2H, 2W), with a weight (I, O, 4, 4), a stride of 2 and a padding of 1."""

    def __init__(self, weight):
        self.weight = weight.contiguous(memory_format=torch.channels_last)

    def forward(self, x, bias):
        return F.conv_transpose2d(x, self.weight, bias, stride=2, padding=1)

    def adjoint(self, grad):
        return F.conv2d(grad, self.weight, stride=2, padding=1)


class NarrowDoubling(Doubling):
    """`Doubling` to few channels: each pixel's contributions by a matrix product, then their sums."""

    def __init__(self, weight):
        super().__init__(weight)
        self.contributions = weight.flatten(1).T.contiguous()  # (16 O, I)

    def forward(self, x, bias):
        height, width = x.shape[2:]
        columns = self.contributions @ x.flatten(2)
        return F.fold(columns, (2 * height, 2 * width), 4, padding=1, stride=2).add_(bias[:, None, None])


def transposed_convolution(weight, from_pixel):
    """The fastest for a weight (I, O, 4, 4)."""
    if from_pixel:
        return FromPixel(weight)
    return (NarrowDoubling if weight.shape[1] < FEW_CHANNELS else Doubling)(weight)


class ActivatedTransposed(torch.autograd.Function):
    """relu or tanh(convolution(x) + bias): x (B, I, H, W) -> (B, O, 2H, 2W)."""

    @staticmethod
    def forward(ctx, x, bias, convolution, activation):
        out = convolution.forward(x, bias)
        out = out.relu_() if activation == "relu" else out.tanh_()
        ctx.save_for_backward(out)
        ctx.convolution, ctx.activation = convolution, activation
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        (out,) = ctx.saved_tensors
        if ctx.activation == "relu":
            grad = torch.ops.aten.threshold_backward(grad, out, 0)
        else:
            grad = torch.ops.aten.tanh_backward(grad, out)
        return ctx.convolution.adjoint(grad.contiguous(memory_format=torch.channels_last)), None, None, None
