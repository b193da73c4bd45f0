"""What the generators do between convolutions: filtering, and bias with noise and activation.

Each operation is a CUDA kernel (kernels.cu) beside a plain PyTorch twin (reference.py). The kernels take float32,
float16 and bfloat16 tensors on a GPU, contiguous or channels-last, and are differentiable once; the twins serve for all
else: on the CPU, in other types, under torch.compile, and where the kernels cannot be built.
"""

import os
import sys

import torch

from models.errors import UserError
from models.ops import build, reference
from models.ops.library import DTYPES, BiasAct, UpFirDn2d

MODES = ("auto", "cuda", "reference")

_mode = "auto"
_told = False  # that the kernels cannot be built


def set_ops(mode):
    """Choose what computes on a GPU: "auto", kernels where they can be built; "cuda", kernels; "reference", the twins.

    Raises UserError where "cuda" finds no GPU or the kernels cannot be built. They are built here, or with "auto" when
    they are first needed.
    """
    global _mode
    if mode not in MODES:
        raise ValueError(f"{mode!r} is none of {MODES}")
    if mode == "cuda":
        library, reason = build.kernels()
        if library is None:
            raise UserError(f"--ops=cuda asks for the CUDA kernels, and {reason}; use --ops=auto")
    _mode = mode


def upfirdn2d(x, kernel, up=1, down=1, padding=(0, 0, 0, 0)):
    """Upsample with zeros, pad with zeros, filter, and keep every `down`-th pixel: x (B, C, H, W) -> (B, C, H', W').

    kernel: (kh, kw), applied to every channel as torch's convolutions are, without turning it round; or (k,), one that
    is applied along rows and along columns. up, down: a number, or one for each of (vertical, horizontal). padding:
    (left, right, top, bottom) in upsampled pixels; negative ones crop. H' = (H up + top + bottom - kh) // down + 1.
    The result has x's type, and sums are float32 or better. Raises ValueError where arguments do not fit.
    """
    up, down = _pair(up), _pair(down)
    if kernel.dim() == 1:
        left, right, top, bottom = padding
        rows = upfirdn2d(x, kernel[None], (1, up[1]), (1, down[1]), (left, right, 0, 0))
        return upfirdn2d(rows, kernel[:, None], (up[0], 1), (down[0], 1), (0, 0, top, bottom))
    size = _filtered_size(x, kernel, up, down, padding)
    library = None if kernel.requires_grad else _kernels(x)
    if library is None:
        return reference.upfirdn2d(x, kernel, up, down, padding)
    return UpFirDn2d.apply(x, kernel, up, down, padding, size, library)


def bias_act(x, bias=None, noise=None, slope=0.2, gain=1.0, clamp=None):
    """clamp(leaky_relu(x + noise + bias) gain): x (B, C, H, W) -> (B, C, H, W) in x's type.

    bias: (C,). noise: (1, 1, H, W), or (B, 1, H, W). slope: of negative values, from 0; gain: above 0; clamp:
    largest magnitude of the result. Where that is reached exactly, the kernel passes no gradient and the twin does.
    Raises ValueError where arguments do not fit.
    """
    if x.dim() != 4 or (bias is not None and bias.shape != x.shape[1:2]):
        raise ValueError(f"x {tuple(x.shape)} is not (B, C, H, W), or bias is not (C,)")
    if noise is not None and (noise.shape[1:] != (1, *x.shape[2:]) or noise.shape[0] not in (1, x.shape[0])):
        raise ValueError(f"noise {tuple(noise.shape)} does not fit x {tuple(x.shape)}")
    if slope < 0 or gain <= 0 or (clamp is not None and clamp < 0):
        raise ValueError(f"slope {slope} or clamp {clamp} is negative, or gain {gain} is not positive")
    library = _kernels(x)
    if library is None:
        return reference.bias_act(x, bias, noise, slope, gain, clamp)
    return BiasAct.apply(x, bias, noise, slope, gain, clamp, library)


def _pair(number):
    return (number, number) if isinstance(number, int) else tuple(number)


def _filtered_size(x, kernel, up, down, padding):
    """(H', W') of upfirdn2d. Raises ValueError where there is no such image."""
    left, right, top, bottom = padding
    if x.dim() != 4 or kernel.dim() != 2 or min(*up, *down) < 1:
        shapes = f"x {tuple(x.shape)}, kernel {tuple(kernel.shape)}"
        raise ValueError(f"{shapes}, up {up}, down {down}: expected (B, C, H, W), (kh, kw), and numbers from 1")
    lines = list(zip(x.shape[2:], up, (top, left), (bottom, right), kernel.shape))
    room = [length * times + before + after - taps for length, times, before, after, taps in lines]
    left_over = [length * times + min(before, 0) + min(after, 0) for length, times, before, after, _ in lines]
    if min(room) < 0 or min(left_over) < 1:
        raise ValueError(f"kernel {tuple(kernel.shape)} does not fit on x {tuple(x.shape)}, up {up}, padding {padding}")
    return tuple(extra // step + 1 for extra, step in zip(room, down))


def _kernels(x):
    """The Library that serves for x, or None where the twin does."""
    global _told
    if not x.is_cuda or _mode == "reference" or x.dtype not in DTYPES or torch.compiler.is_compiling():
        return None
    library, reason = build.kernels()
    if library is None and not _told and os.environ.get("RANK", "0") == "0":  # of several processes, one tells
        print(f"the CUDA kernels are not used, and plain PyTorch serves: {reason}", file=sys.stderr)
    _told = True
    return library
