"""The generators' layers for weights that are not trained, in float32 on a CPU.

`StyledLayer` fuses what `stylegan2.StyledLayer` does step by step: it makes as few passes over the memory as possible,
keeps only its input and its output, and computes gradients only for the input and the style. Images are (B, C, H, W) in
channels_last; inside, the same memory is treated as (B, H, W, C).
"""

import torch
import torch.nn.functional as F

from models.frozen.winograd import TILE, Winograd

NUMBERS_AT_A_TIME = 1 << 18  # 1 MB: stays in the cache through several operations
LEAST_PIXELS, LEAST_CHANNELS = 16, 64  # pixels per side; with fewer, Winograd's transforms cost more than they save
LEAST_NUMBERS = 1 << 15  # of a sample; with fewer, `ActivatedConvolution` gains nothing


def are_fixed(weights, x):
    """Whether this module can be used: no weight requires a gradient, and x is float32 on a CPU. Under autocast or a
    compiler it is not used: these work on the separate steps, and a compiler fuses them itself."""
    served = x.device.type == "cpu" and x.dtype == torch.float32
    served = served and not (torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling())
    return served and not any(weight.requires_grad for weight in weights)


def is_large(x):
    """Whether images (B, C, H, W) are so large that `ActivatedConvolution` is faster than its steps (measured)."""
    return x.shape[1] >= LEAST_CHANNELS and x[0].numel() >= LEAST_NUMBERS


class Prepared:
    """A cache for what is computed from a weight alone; computed again when the weight has changed."""

    made = None, None, None  # the weight, its state, the content: replaced as one, since threads share a network

    @property
    def content(self):
        return self.made[2]

    @torch.no_grad()
    def of(self, weight, make):
        """make(weight), from the cache if possible."""
        state = weight.data_ptr(), weight._version
        of_weight, at_state, content = self.made
        if of_weight is not weight or at_state != state:
            content = make(weight)
            self.made = weight, state, content
        return content


class Direct:
    """The correlation with a weight (O, I, 3, 3), with the interface of `Winograd`."""

    def __init__(self, weight):
        self.weight = weight.contiguous(memory_format=torch.channels_last)

    def room(self, shape):
        image = torch.empty(shape)
        return image, image

    def forward(self, x):
        return _last(F.conv2d(_first(x), self.weight, padding=1))

    def adjoint(self, grad):
        return _last(F.conv_transpose2d(_first(grad), self.weight, padding=1))


class Upsampling(Direct):
    """Transposed convolution with a stride of 2 and a weight (O, I, 3, 3), then the low-pass kernel (1, 1, 4, 4)."""

    def __init__(self, weight, kernel):
        super().__init__(weight.flip(2, 3).transpose(0, 1))
        self.kernel = kernel.expand(len(weight), 1, -1, -1).contiguous(memory_format=torch.channels_last)

    def forward(self, x):
        wide = F.conv_transpose2d(_first(x), self.weight, stride=2)
        return _last(F.conv2d(wide, self.kernel, padding=1, groups=len(self.kernel)))

    def adjoint(self, grad):
        wide = F.conv2d(_first(grad), self.kernel.flip(2, 3), padding=2, groups=len(self.kernel))
        return _last(F.conv2d(wide, self.weight, stride=2))


def _last(image):
    return image.permute(0, 2, 3, 1).contiguous()


def _first(image):
    return image.permute(0, 3, 1, 2)


def convolution(weight, resolution, kernel=None):
    """The fastest convolution for a weight (O, I, 3, 3) or (O, I, 1, 1) and the resolution of the output; upsamples if
    a low-pass kernel is given."""
    if kernel is not None:
        return Upsampling(weight, kernel)
    if weight.shape[-1] == 1:
        return Pointwise(weight)
    large = resolution >= LEAST_PIXELS and resolution % TILE == 0 and min(weight.shape[:2]) >= LEAST_CHANNELS
    return Winograd(weight) if large else Direct(weight)


def _parts(image):
    """Indices into an image (B, H, W, C), of about NUMBERS_AT_A_TIME numbers each, none across two samples."""
    rows = max(1, NUMBERS_AT_A_TIME // image[0, 0].numel())
    for b in range(len(image)):
        for r in range(0, image.shape[1], rows):
            yield b, slice(r, r + rows)


class StyledLayer(torch.autograd.Function):
    """clamp(leaky_relu(convolution(x * style) * demodulation + noise + bias)); without clamp if that is None.

    x (B, I, H, W), style (B, I), demodulation (B, O), noise (H', W'), bias (O,) -> (B, O, H', W').
    """

    @staticmethod
    def forward(ctx, x, style, demodulation, noise, bias, convolution, slope, clamp=None):
        x = _last(x)
        taken, inside = convolution.room(x.shape)
        torch.mul(x, style[:, None, None], out=inside)
        out = convolution.forward(taken)
        for b, rows in _parts(out):
            part = out[b, rows]
            part.mul_(demodulation[b]).add_(noise[rows, :, None]).add_(bias)
            F.leaky_relu_(part, slope)
            if clamp is not None:
                part.clamp_(-clamp, clamp)
        ctx.save_for_backward(x, style, demodulation, noise, bias, out)
        ctx.convolution, ctx.slope, ctx.clamp = convolution, slope, clamp
        return _first(out)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        x, style, demodulation, noise, bias, out = ctx.saved_tensors
        x_grad, style_grad, demodulation_grad = ctx.needs_input_grad[:3]
        grad = _last(grad)
        if ctx.clamp is not None:
            grad = grad * (out.abs() < ctx.clamp)
        taken, inside = ctx.convolution.room(grad.shape)
        sums = torch.zeros_like(demodulation)
        for b, rows in _parts(grad):
            part = torch.ops.aten.leaky_relu_backward(grad[b, rows], out[b, rows], ctx.slope, True)
            torch.mul(part, demodulation[b], out=inside[b, rows])
            if demodulation_grad:
                # The sum of part * (before - noise - bias), where `before` is the input of the activation. Since leaky
                # ReLU is piecewise linear, part * before equals grad * out: the activation need not be undone.
                constants = torch.stack([noise[rows].flatten(), torch.ones(noise[rows].numel())])
                from_noise, from_bias = constants @ part.flatten(0, 1)
                sums[b] += (grad[b, rows] * out[b, rows]).sum((0, 1)) - from_noise - bias * from_bias
        if not (x_grad or style_grad):
            return None, None, sums / demodulation, *[None] * 5
        grad_x = ctx.convolution.adjoint(taken)
        grad_style = torch.zeros_like(style)
        for b, rows in _parts(grad_x):
            part = grad_x[b, rows]
            if style_grad:
                grad_style[b] += (part * x[b, rows]).sum((0, 1))
            part.mul_(style[b])
        return _first(grad_x), grad_style, sums / demodulation, *[None] * 5


class Convolution(torch.autograd.Function):
    """x (B, I, H, W) -> (B, O, H, W); keeps nothing for the backward pass."""

    @staticmethod
    def forward(ctx, x, convolution):
        ctx.convolution = convolution
        taken, inside = convolution.room(x.permute(0, 2, 3, 1).shape)
        inside.copy_(x.permute(0, 2, 3, 1))
        return _first(convolution.forward(taken))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        taken, inside = ctx.convolution.room(grad.permute(0, 2, 3, 1).shape)
        inside.copy_(grad.permute(0, 2, 3, 1))
        return _first(ctx.convolution.adjoint(taken)), None


class Pointwise(Direct):
    """Correlation with a weight (O, I, 1, 1): a matrix product over the channels."""

    def __init__(self, weight):
        self.weight = weight.flatten(1).contiguous()

    def forward(self, x):
        return x @ self.weight.T

    def adjoint(self, grad):
        return grad @ self.weight


class ActivatedConvolution(torch.autograd.Function):
    """convolution(relu(x * gain + offset)) + bias, with nearest-neighbour upsampling by 2 after the ReLU if `doubled`.

    x (B, I, H, W), gain and offset (B, I), bias (O,) -> (B, O, H or 2H, W or 2W). Of the activations, only x is stored
    for the backward pass.
    """

    @staticmethod
    def forward(ctx, x, gain, offset, bias, convolution, doubled):
        x = _last(x)
        batch, height, width, channels = x.shape
        taken, inside = convolution.room((batch, height << doubled, width << doubled, channels))
        for samples, rows in _blocks(x):
            part = torch.addcmul(offset[samples, None, None], x[samples, rows], gain[samples, None, None]).relu_()
            if doubled:
                part = _last(F.interpolate(_first(part), scale_factor=2, mode="nearest"))
            inside[samples, _doubled(rows) if doubled else rows] = part
        out = convolution.forward(taken).add_(bias)
        ctx.save_for_backward(x, gain, offset)
        ctx.convolution, ctx.doubled = convolution, doubled
        return _first(out)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        x, gain, offset = ctx.saved_tensors
        grad = grad.permute(0, 2, 3, 1)
        taken, inside = ctx.convolution.room(grad.shape)
        inside.copy_(grad)
        grad_x = ctx.convolution.adjoint(taken)
        if ctx.doubled:
            grad_x = _last(F.avg_pool2d(_first(grad_x), 2, divisor_override=1))
        grad_gain, grad_offset = torch.zeros_like(gain), torch.zeros_like(offset)
        for samples, rows in _blocks(x):
            before, part = x[samples, rows], grad_x[samples, rows]
            part.mul_(torch.addcmul(offset[samples, None, None], before, gain[samples, None, None]) > 0)
            grad_offset[samples] += part.sum((1, 2))
            grad_gain[samples] += (part * before).sum((1, 2))
            part.mul_(gain[samples, None, None])
        return _first(grad_x), grad_gain, grad_offset, None, None, None


def _doubled(rows):
    return slice(2 * rows.start, 2 * rows.stop)


def _blocks(image):
    """Indices of about NUMBERS_AT_A_TIME numbers of an image (B, H, W, C): several samples, or rows of one."""
    samples = max(1, NUMBERS_AT_A_TIME // image[0].numel())
    rows = max(1, NUMBERS_AT_A_TIME // image[0, 0].numel())
    for b in range(0, len(image), samples):
        for r in range(0, image.shape[1], rows):
            yield slice(b, b + samples), slice(r, r + rows)
