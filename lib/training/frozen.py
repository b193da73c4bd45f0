"""The frozen half of a step: latent codes -> images -> features, and the gradient on its way back.

The precision is that of the frozen networks. Everything around them, trained weights and loss, stays in float32.

    fp32    float32
    tf32    float32, with factors of products rounded to 10 bits of mantissa, on NVIDIA GPUs from Ampere on; else fp32
    bf16    products in bfloat16 (7 bits), by autocast
    fp16    products in float16 (10 bits, from 6e-8 to 65504), by autocast, with gradients scaled into that range
"""

import sys
from contextlib import contextmanager

import torch

from lib import distributed

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
# In fp16, an item's gradient is scaled so that its largest entry is 2^-4 to 2^-3 when it enters the networks' backward
# pass. With the portraits' generators, 2^-10 to 2^5 gave the same cosine to float32; gradients overflowed above 2^9 and
# vanished at 2^-20.
FP16_GRADIENT = -3


class FrozenHalf:
    """A method's `see` in a given precision, compiled or not."""

    def __init__(self, see, precision="fp32", compiled=False):
        self.precision = precision
        self._see = _compiled(see) if compiled else see

    def __call__(self, codes, batch):
        """Codes (B, ...) -> a tuple of features (B, ...) with the dtype of the codes, whatever the precision."""
        dtype = AUTOCAST.get(self.precision)
        with self._products(), torch.autocast(codes.device.type, dtype, enabled=dtype is not None):
            seen = self._see(codes, batch)
            return tuple(features.to(codes.dtype) for features in (seen if isinstance(seen, tuple) else (seen,)))

    def gradient(self, features, codes, gradients):
        """The gradient with respect to codes (B, ...), a leaf, from the `gradients` with respect to features, both
        tuples of (B, ...).

        Row b of the features must depend on row b of the codes alone: in fp16, each row is scaled by its own power of
        two, which depends only on that row, and scaled back afterwards.
        """
        scale = 1.0
        if self.precision == "fp16":
            largest = torch.stack([gradient.abs().flatten(1).amax(dim=1) for gradient in gradients]).amax(dim=0)
            scale = torch.ldexp(torch.ones_like(largest), FP16_GRADIENT - torch.frexp(largest).exponent)
            gradients = [gradient * _per_row(scale, gradient) for gradient in gradients]
        with self._products():
            (found,) = torch.autograd.grad(features, codes, gradients)
        return found if self.precision != "fp16" else found / _per_row(scale, found)

    @contextmanager
    def _products(self):
        """Sets how CUDA multiplies float32 numbers, and restores it afterwards."""
        matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
        before = matmul.allow_tf32, cudnn.allow_tf32
        matmul.allow_tf32 = cudnn.allow_tf32 = self.precision == "tf32"
        try:
            yield
        finally:
            matmul.allow_tf32, cudnn.allow_tf32 = before


def _per_row(scale, tensor):
    """Scale (B,) as (B, 1, ..), to multiply with a tensor (B, ...)."""
    return scale.view(-1, *[1] * (tensor.ndim - 1))


def _compiled(function):
    """`function`, compiled for each shape that it is called with. If it cannot be compiled, one line says why, and from
    then on it runs uncompiled."""
    fast = torch.compile(function, dynamic=False)

    def call(*arguments):
        nonlocal fast
        if fast is not function:
            try:
                return fast(*arguments)
            except torch._dynamo.exc.TorchDynamoException as error:
                fast = function
                if distributed.is_first():
                    reason = str(error).strip().splitlines()[0]
                    print(f"--compile is left out, since torch cannot compile here: {reason}", file=sys.stderr)
        return function(*arguments)

    return call
