"""What of a picture is inverted: a square of it, upright or turned, at a generator's resolution."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F

MOST_SAMPLES = 4096  # per side; beyond it, a large picture is no longer averaged over all of its pixels


class Frame(NamedTuple):
    """A square of a picture, in its pixels: the centre (x, y), the side, and the angle in radians by which the square's
    right side is turned down."""

    x: float
    y: float
    side: float
    angle: float = 0.0

    def point(self, x, y):
        """A place in the square, from (0, 0) to (1, 1), as a place in the picture, in pixels."""
        right, down = (x - 0.5) * self.side, (y - 0.5) * self.side
        cosine, sine = math.cos(self.angle), math.sin(self.angle)
        return self.x + right * cosine - down * sine, self.y + right * sine + down * cosine

    def shares(self, points):
        """Places in the picture (P, 2), in pixels, as places in the square from (0, 0) to (1, 1): a tensor (P, 2)."""
        offsets = torch.as_tensor(points) - torch.tensor([self.x, self.y])
        cosine, sine = math.cos(self.angle), math.sin(self.angle)
        turned = offsets @ torch.tensor([[cosine, -sine], [sine, cosine]])
        return turned / self.side + 0.5


def centre_square(pixels):
    """The largest square in the middle of a picture (H, W, 3)."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    return Frame((width - side) // 2 + side / 2, (height - side) // 2 + side / 2, side)


def cut_out(pixels, frame, resolution):
    """A frame of a picture (H, W, 3) uint8, in a numpy array, as a tensor (3, R, R) in [-1, 1].

    Where the frame has more pixels than that, all are averaged; where it reaches over the edge of the picture, this is
    mirrored there. A square of just the resolution comes out as it is.
    """
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
    samples = min(math.ceil(frame.side / resolution - 1e-6), max(1, MOST_SAMPLES // resolution))
    places = (torch.arange(resolution * samples, dtype=torch.float64) + 0.5) / (resolution * samples)
    x, y = frame.point(places[None, :], places[:, None])
    height, width = pixels.shape[:2]
    grid = torch.stack([2 * x / width - 1, 2 * y / height - 1], dim=-1).float()
    found = F.grid_sample(image, grid[None], padding_mode="reflection", align_corners=False)
    return F.avg_pool2d(found, samples)[0].clamp(-1, 1)
