"""The frozen half of a step: latent codes -> images -> CLIP's features, and a gradient's way back.

The precision is that of the two networks. What stands around them, support sets and loss, stays float32.

    fp32    float32
    tf32    float32, with the factors of products rounded to 10 bits of mantissa: NVIDIA GPUs from Ampere on, else fp32
    bf16    products in bfloat16 (7 bits), by autocast
    fp16    products in float16 (10 bits, from 6e-8 to 65504), by autocast, with gradients scaled into that range
"""

import sys
from contextlib import contextmanager

import torch

from lib import distributed

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
# The largest entry of an item's gradient enters the networks' backward pass in fp16 as 2^-4 to 2^-3. On the portraits'
# generators 2^-10 to 2^5 gave the same cosine to float32; above 2^9 it overflowed, and at 2^-20 it vanished.
FP16_GRADIENT = -3


class ImageFeatures:
    """Encodes codes of `space`, a `lib.latent_space` one, by way of their images."""

    def __init__(self, space, clip_encoder, precision="fp32", compiled=False):
        self.space, self.clip_encoder, self.precision = space, clip_encoder, precision
        self._encode = _compiled(self._networks) if compiled else self._networks

    def _networks(self, codes):
        return self.clip_encoder.encode_images(self.space.synthesise(codes))

    def __call__(self, codes):
        """Codes as `space` has them -> features (B, E) of their dtype, whatever the precision."""
        dtype = AUTOCAST.get(self.precision)
        with self._products(), torch.autocast(codes.device.type, dtype, enabled=dtype is not None):
            return self._encode(codes).to(codes.dtype)

    def gradient(self, features, inputs, gradient):
        """The gradient of features (B, E), of which inputs (B, ...) are a leaf, along `gradient` (B, E): (B, ...).

        Row b of the features must depend on row b of the inputs alone: in fp16 each row is scaled by a power of two of
        its own, which depends on nothing but the row, and back again.
        """
        scale = 1.0
        if self.precision == "fp16":
            exponents = torch.frexp(gradient.abs().amax(dim=1)).exponent
            scale = torch.ldexp(torch.ones_like(gradient[:, 0]), FP16_GRADIENT - exponents)
            gradient = gradient * scale[:, None]
        with self._products():
            (found,) = torch.autograd.grad(features, inputs, gradient)
        return found if self.precision != "fp16" else found / scale.view(-1, *[1] * (found.ndim - 1))

    @contextmanager
    def _products(self):
        """How CUDA multiplies float32 inside; outside it stays as it was."""
        matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
        before = matmul.allow_tf32, cudnn.allow_tf32
        matmul.allow_tf32 = cudnn.allow_tf32 = self.precision == "tf32"
        try:
            yield
        finally:
            matmul.allow_tf32, cudnn.allow_tf32 = before


def _compiled(function):
    """`function` of a tensor, compiled for each shape that it meets. Where it cannot be compiled, one line says why,
    and from then on it runs as it is."""
    fast = torch.compile(function, dynamic=False)

    def call(tensor):
        nonlocal fast
        if fast is not function:
            try:
                return fast(tensor)
            except torch._dynamo.exc.TorchDynamoException as error:
                fast = function
                if distributed.is_first():
                    reason = str(error).strip().splitlines()[0]
                    print(f"--compile is left out, torch cannot compile here: {reason}", file=sys.stderr)
        return function(tensor)

    return call
