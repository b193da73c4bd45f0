"""3x3 convolutions with fixed weights on a CPU, with a quarter of the multiplications.

Winograd's minimal filtering F(4x4, 3x3) ("Fast Algorithms for Convolutional Neural Networks", Lavin & Gray, 2016) needs
36 products for the 16 pixels of a tile, where a direct convolution needs 144. They are computed as matrix products over
the channels, and so are the transforms before and after. Images are stored as (B, H, W, C), in float32.
"""

import math

import torch

TILE, WINDOW = 4, 6  # side of a tile's output and of its input
TILES_AT_A_TIME = 256  # enough rows for a matrix product at full speed, few enough to stay in the cache (measured)


def _transforms():
    """(output, weight, input) such that output @ (weight @ w * (input @ x)) correlates x (6,) with w (3,): (4,).

    The transposed algorithm of Toom and Cook: polynomials are multiplied through their values at six points, 0,
    infinity and four between. The value of a mirrored kernel at 1/a is that of the kernel at a, divided by a^2. The set
    of points is closed under a -> 1/a, so the transformed weights can be used for the backward pass too. These points
    also keep the error close to that of float32.
    """
    root = math.sqrt(2)
    finite = torch.tensor([0, root, -root, 1 / root, -1 / root], dtype=torch.float64)

    def values(count):
        at_infinity = torch.eye(count, dtype=torch.float64)[-1:]
        return torch.cat([finite[:, None] ** torch.arange(count), at_infinity])

    return values(TILE).T, values(3), torch.linalg.inv(values(WINDOW)).T


def _in_two_dimensions(output, points):
    return torch.kron(points, points).float(), torch.kron(output, output).float()


OUTPUT, WEIGHT, INPUT = _transforms()
INVERSE = [5, 3, 4, 1, 2, 0]  # the index of each point's inverse
SQUARES = torch.tensor([1, 0.5, 0.5, 2, 2, 1], dtype=torch.float64)
FORWARD = _in_two_dimensions(OUTPUT, INPUT)
BACKWARD = _in_two_dimensions(OUTPUT[:, INVERSE] * SQUARES, INPUT[INVERSE])


class Winograd:
    """The correlation with a weight (O, I, 3, 3), and its adjoint. The sides of images must be multiples of 4."""

    def __init__(self, weight):
        outputs, inputs = weight.shape[:2]
        values = torch.kron(WEIGHT, WEIGHT).float() @ weight.flatten(2).flatten(0, 1).T  # (36, O I)
        self.weight = values.view(36, outputs, inputs).transpose(1, 2).contiguous()  # (36, I, O)

    def room(self, shape):
        """The input of `forward` or `adjoint` for an image of `shape` (B, H, W, C), and the view to write it to."""
        batch, height, width, channels = shape
        padded = torch.empty(batch, height + 2, width + 2, channels)
        for side in (0, -1):
            padded[:, side] = 0
            padded[:, :, side] = 0
        return padded, padded[:, 1:-1, 1:-1]

    def forward(self, padded):
        """(B, H + 2, W + 2, I) -> (B, H, W, O)."""
        return _correlate(padded, self.weight, *FORWARD)

    def adjoint(self, padded):
        """(B, H + 2, W + 2, O) -> (B, H, W, I)."""
        return _correlate(padded, self.weight.transpose(1, 2), *BACKWARD)


def _correlate(padded, weight, before, after):
    batch, (height, width) = len(padded), (side - 2 for side in padded.shape[1:3])
    rows, columns = height // TILE, width // TILE
    inputs, outputs = weight.shape[1:]
    out = padded.new_empty(batch, height, width, outputs)
    sample, row, column, _ = padded.stride()
    windows = padded.as_strided(
        (WINDOW, WINDOW, batch, rows, columns, inputs), (row, column, sample, TILE * row, TILE * column, 1)
    )
    tiles = out.view(batch, rows, TILE, columns, TILE, outputs).permute(2, 4, 0, 1, 3, 5)
    for at in _parts(batch, rows, columns):
        window = windows[at]
        points = (before @ window.reshape(36, -1)).view(36, -1, inputs)
        points = torch.bmm(points, weight).view(36, -1)
        tiles[at] = (after @ points).view(TILE, TILE, *window.shape[2:5], outputs)
    return out


def _parts(batch, rows, columns):
    """Indices of about TILES_AT_A_TIME tiles each, into (.., .., B, rows, columns, C)."""
    rows_at_a_time = max(1, TILES_AT_A_TIME // columns)
    samples = max(1, rows_at_a_time // rows)
    for b in range(0, batch, samples):
        for r in range(0, rows, rows_at_a_time):
            yield ..., slice(b, b + samples), slice(r, r + rows_at_a_time), slice(None), slice(None)
