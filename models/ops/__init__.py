"""What the generators do between convolutions: filtering, and bias with noise and activation.

Each operation has a CUDA kernel (kernels.cu) and a plain PyTorch twin (reference.py). The kernels take float32, float16
and bfloat16 tensors on a GPU, contiguous or channels-last, and are differentiable once. The twins are used in all other
cases: on the CPU, for other types, under torch.compile, and where the kernels cannot be built.
"""

import os
import sys

import torch

from models.errors import UserError
from models.ops import build, reference
from models.ops.library import DTYPES, BiasAct, UpFirDn2d

MODES = ("auto", "cuda", "reference")

_mode = "auto"
_told = False  # whether a message has said that the kernels cannot be built


def set_ops(mode):
    """Choose the implementation on a GPU. "auto": the kernels if they can be built; "cuda": the kernels; "reference":
    the twins.

    With "cuda", the kernels are built here, and UserError is raised if there is no GPU or they cannot be built. With
    "auto", they are built when they are first needed.
    """
    global _mode
    if mode not in MODES:
        raise ValueError(f"{mode!r} is not one of {MODES}")
    if mode == "cuda":
        library, reason = build.kernels()
        if library is None:
            raise UserError(f"--ops=cuda asks for the CUDA kernels, but {reason}; use --ops=auto")
    _mode = mode


def upfirdn2d(x, kernel, up=1, down=1, padding=(0, 0, 0, 0)):
    """Upsample with zeros, pad with zeros, filter, and keep every `down`-th pixel: x (B, C, H, W) -> (B, C, H', W').

    kernel: (kh, kw), applied to every channel like torch's convolutions, without flipping it; or (k,), applied along
    rows and along columns. up, down: a number, or one for each of (vertical, horizontal). padding: (left, right, top,
    bottom) in upsampled pixels; negative numbers crop. H' = (H up + top + bottom - kh) // down + 1. The result has the
    type of x, and sums are computed in float32 or better. Raises ValueError if the arguments do not fit.
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

    bias: (C,). noise: (1, 1, H, W), or (B, 1, H, W). slope: of negative values, at least 0; gain: above 0; clamp:
    largest magnitude of the result. Where that is reached exactly, the twin passes a gradient and the kernel does not.
    Raises ValueError if the arguments do not fit.
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
    """(H', W') of upfirdn2d. Raises ValueError if there is no such image."""
    left, right, top, bottom = padding
    if x.dim() != 4 or kernel.dim() != 2 or min(*up, *down) < 1:
        shapes = f"x {tuple(x.shape)}, kernel {tuple(kernel.shape)}"
        raise ValueError(f"{shapes}, up {up}, down {down}: expected (B, C, H, W), (kh, kw), and numbers of at least 1")
    lines = list(zip(x.shape[2:], up, (top, left), (bottom, right), kernel.shape))
    room = [length * times + before + after - taps for length, times, before, after, taps in lines]
    left_over = [length * times + min(before, 0) + min(after, 0) for length, times, before, after, _ in lines]
    if min(room) < 0 or min(left_over) < 1:
        raise ValueError(f"kernel {tuple(kernel.shape)} does not fit on x {tuple(x.shape)}, up {up}, padding {padding}")
    return tuple(extra // step + 1 for extra, step in zip(room, down))


def _kernels(x):
    """The Library for x, or None if the twin is to be used."""
    global _told
    if not x.is_cuda or _mode == "reference" or x.dtype not in DTYPES or torch.compiler.is_compiling():
        return None
    library, reason = build.kernels()
    if library is None and not _told and os.environ.get("RANK", "0") == "0":  # only the first process prints it
        print(f"the CUDA kernels are not used, but plain PyTorch: {reason}", file=sys.stderr)
    _told = True
    return library
