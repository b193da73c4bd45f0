"""Where the face is in a picture, and the frame in which it lies as a generator's faces do.

Four points of facemesh say where a face is: the outer corners of the eyes and those of the mouth. Where a generator has
them is measured on its own samples, so that any generator of faces, however its training pictures were aligned, has a
frame of its own.
"""

import math
from typing import NamedTuple

import numpy as np
import torch

from lib.draws import generator_for
from lib.inversion.frames import Frame, centre_square, cut_out
from models.errors import UserError
from models.face_networks import ENLARGED, INPUTS, MARGIN, load_network

STREAM = 22  # of `generator_for`
POINTS = (33, 263, 61, 291)  # of facemesh: the outer corners of the eyes, and of the mouth, left before right
FACE = 0.9  # facemesh's probability of a face
SAMPLES = 24  # of a generator
SHARE = 0.75  # of them that must show a face, in a generator of faces
NEAR = 1.5  # how far a face may be from the template, in spreads, to be left where it is
SIDE = 192  # pixels in which a face is looked for
WINDOWS = (1.0, 0.6, 0.36)  # sides of the squares that are looked at, as shares of the shorter side
OVERLAP = 0.4  # of neighbouring squares, at least
REFINEMENTS = 3


class Template(NamedTuple):
    """Where a generator has the POINTS of its faces on average, (4, 2) as shares of the side, and how far from there
    those of a sample are at most, as a root mean square."""

    points: torch.Tensor
    spread: float


@torch.no_grad()
def template_of(space):
    """The `Template` of a space's generator; None if its samples show no faces, or if facemesh is missing."""
    z = torch.randn(SAMPLES, space.generator.z_dim, generator=generator_for(0, STREAM, 0))
    try:
        looks = [_look(space.synthesise(space.codes_of(one.to(space.device))).cpu()) for one in z.split(1)]
    except UserError:  # no onnxruntime, or no file
        return None
    flags, points = map(torch.cat, zip(*looks))
    points = points[flags >= FACE]
    if len(points) < SHARE * SAMPLES:
        return None
    mean = points.mean(dim=0)
    return Template(mean, _distance(points, mean).max().item())


def face_frame(pixels, template):
    """The `Frame` of a picture (H, W, 3) uint8 in which its face lies as in the template; None if there is no face.

    A face that lies in the centre square about as the generator's own do is left there.
    """
    square = centre_square(pixels)
    flags, points = _look(cut_out(pixels, square, SIDE)[None])
    if flags[0] >= FACE and _distance(points, template.points)[0] <= NEAR * template.spread:
        return square
    frame = _best_window(pixels, template)
    for _ in range(REFINEMENTS):
        flags, points = _look(cut_out(pixels, frame, SIDE)[None])
        places = torch.tensor([frame.point(*point) for point in points[0].tolist()])
        frame = fitted(places, template.points)
    flags, _ = _look(cut_out(pixels, frame, SIDE)[None])
    return frame if flags[0] >= FACE else None


def fitted(places, points):
    """The `Frame` whose `points` (P, 2), in shares of the side, are nearest to places of a picture (P, 2), in pixels:
    a rotation, a scaling and a shift (Umeyama 1991), with no mirroring."""
    a, b = (points - points.mean(dim=0)).double(), (places - places.mean(dim=0)).double()
    along, across = (a * b).sum(), (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()
    side, angle = (torch.hypot(along, across) / a.square().sum()).item(), math.atan2(across, along)
    x, y = Frame(0, 0, side, angle).point(*points.mean(dim=0).tolist())
    return Frame(places[:, 0].mean().item() - x, places[:, 1].mean().item() - y, side, angle)


def _best_window(pixels, template):
    """The largest square of a picture in which facemesh is sure of a face, or else that in which it is surest.

    Of several equally large ones, that in which the face lies most as in the template.
    """
    best = (1, 0.0), None
    for windows in _windows(*pixels.shape[:2]):
        for window in windows:
            flags, points = _look(cut_out(pixels, window, SIDE)[None])
            order = -min(flags[0].item(), FACE), _distance(points, template.points)[0].item()
            best = min(best, (order, window))
        if best[0][0] <= -FACE:
            break
    return best[1]


def _windows(height, width):
    shorter = min(height, width)
    for share in WINDOWS:
        side = share * shorter
        counts = (math.ceil((length - side) / (side * (1 - OVERLAP)) - 1e-6) + 1 for length in (width, height))
        xs, ys = (np.linspace(side / 2, length - side / 2, count) for length, count in zip((width, height), counts))
        yield [Frame(float(x), float(y), side) for y in ys for x in xs]


def _look(images):
    """Images (B, 3, S, S) in [-1, 1] -> probabilities of a face (B,), its POINTS (B, 4, 2) in shares of the side."""
    found = load_network("facemesh", torch.get_num_threads())(images, ["flag", "mesh"], MARGIN)
    mesh = torch.from_numpy(found["mesh"]).reshape(len(images), -1, 3)[:, POINTS, :2]
    seen = ENLARGED + 2 * MARGIN
    points = (mesh / INPUTS["facemesh"].side * seen - MARGIN) / ENLARGED
    return torch.from_numpy(found["flag"]).flatten(), points


def _distance(points, others):
    """Root mean square distance of points (B, P, 2) from others (P, 2): (B,)."""
    return (points - others).square().sum(dim=-1).mean(dim=-1).sqrt()
