"""S3FD: where the face is, and how large (Zhang et al., ICCV 2017, arXiv 1708.05237)."""

import torch
from torch import nn
from torchvision.ops import nms

from lib.judges.faces.checkpoints import Checkpoint
from lib.judges.faces.frames import SIDE

# The convolutions of VGG-16 with 3 x 3 pixels: (name, width of the input, width of the output); None halves the map.
VGG = (
    ("conv1_1", 3, 64), ("conv1_2", 64, 64), None,
    ("conv2_1", 64, 128), ("conv2_2", 128, 128), None,
    ("conv3_1", 128, 256), ("conv3_2", 256, 256), ("conv3_3", 256, 256), None,
    ("conv4_1", 256, 512), ("conv4_2", 512, 512), ("conv4_3", 512, 512), None,
    ("conv5_1", 512, 512), ("conv5_2", 512, 512), ("conv5_3", 512, 512), None,
)  # fmt: skip
# What follows it: (name, width of the input, width of the output, kernel, stride, padding).
EXTRA = (
    ("fc6", 512, 1024, 3, 1, 3), ("fc7", 1024, 1024, 1, 1, 0),
    ("conv6_1", 1024, 256, 1, 1, 0), ("conv6_2", 256, 512, 3, 2, 1),
    ("conv7_1", 512, 128, 1, 1, 0), ("conv7_2", 128, 256, 3, 2, 1),
)  # fmt: skip
# The six levels: (tap, its width, numbers of its class map). The first level has three maps for the background.
TAPS = (
    ("conv3_3_norm", 256, 4), ("conv4_3_norm", 512, 2), ("conv5_3_norm", 512, 2),
    ("fc7", 1024, 2), ("conv6_2", 512, 2), ("conv7_2", 256, 2),
)  # fmt: skip
MEAN = (104.0, 117.0, 123.0)  # of blue, green and red
STRIDE = 4  # pixels of the first level's; each next one's is twice as large
CANDIDATE, OVERLAP, FACE = 0.05, 0.3, 0.5  # least score to be suppressed by others, most overlap, least score kept


class S3FD(nn.Module):
    """forward: RGB (B, 3, H, W) in 0..255 -> for each of six levels its (classes (B, 2, h, w), boxes (B, 4, h, w)).

    Classes are logits of background and face; `decode` makes boxes and scores of it all.
    """

    checkpoint = Checkpoint("sfd", "s3fd-619a316812.pth")
    names = ("face_x", "face_y", "face_width", "face_height")
    units = ("share of the frame",) * 4
    ranges = ((0, 1),) * 4

    def __init__(self):
        super().__init__()
        for name, width, outputs in filter(None, VGG):
            setattr(self, name, nn.Conv2d(width, outputs, 3, padding=1))
        for name, *shape in EXTRA:
            setattr(self, name, nn.Conv2d(*shape))
        for tap, width, classes in TAPS:
            if tap.endswith("_norm"):
                setattr(self, tap, _L2Norm(width))
            setattr(self, f"{tap}_mbox_conf", nn.Conv2d(width, classes, 3, padding=1))
            setattr(self, f"{tap}_mbox_loc", nn.Conv2d(width, 4, 3, padding=1))

    def forward(self, images):
        maps, x = {}, images.flip(1) - images.new_tensor(MEAN)[:, None, None]
        for layer in VGG:
            if layer is None:
                x = nn.functional.max_pool2d(x, 2)
            else:
                x = maps[layer[0]] = getattr(self, layer[0])(x).relu()
        for name, *_ in EXTRA:
            x = maps[name] = getattr(self, name)(x).relu()
        return [self._level(tap, maps) for tap, *_ in TAPS]

    def _level(self, tap, maps):
        x = getattr(self, tap)(maps[tap.removesuffix("_norm")]) if tap.endswith("_norm") else maps[tap]
        classes, boxes = getattr(self, f"{tap}_mbox_conf")(x), getattr(self, f"{tap}_mbox_loc")(x)
        background = classes[:, :-1].amax(1, keepdim=True)
        return torch.cat([background, classes[:, -1:]], 1), boxes

    def detect(self, frames):
        """Frames (B, 3, H, W) in 0..255 -> for each its best-scored face's (x1, y1, x2, y2) in pixels, or None."""
        faces = (select(boxes, scores)[0] for boxes, scores in zip(*decode(self(frames))))
        return [found[0] if len(found) else None for found in faces]

    def read(self, frames):
        """`Frames` of B images -> (B, 4): the box' centre, width and height; the whole frame where no face is found."""
        whole = frames.small.new_tensor([0, 0, SIDE, SIDE])
        x1, y1, x2, y2 = torch.stack([whole if box is None else box for box in frames.boxes]).T / SIDE
        return torch.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], 1)


class _L2Norm(nn.Module):
    """Each pixel divided by its norm over the channels, and scaled."""

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x / (x.norm(dim=1, keepdim=True) + 1e-10) * self.weight[:, None, None]


def decode(levels):
    """What `S3FD` gives -> boxes (B, N, 4) as (x1, y1, x2, y2) in pixels, scores (B, N); N over all levels' pixels.

    A pixel's box is a shift and a scaling of a square, its prior: four strides wide, about the pixel's centre.
    """
    boxes, scores = [], []
    for level, (classes, offsets) in enumerate(levels):
        stride = STRIDE * 2**level
        rows, columns = (torch.arange(size).to(offsets) + 0.5 for size in offsets.shape[2:])
        priors = torch.stack(torch.meshgrid(columns * stride, rows * stride, indexing="xy"))
        centre = priors + 0.1 * offsets[:, :2] * 4 * stride
        half = 4 * stride * torch.exp(0.2 * offsets[:, 2:]) / 2
        boxes.append(torch.cat([centre - half, centre + half], 1).flatten(2).transpose(1, 2))
        scores.append(classes.softmax(1)[:, 1].flatten(1))
    return torch.cat(boxes, 1), torch.cat(scores, 1)


def select(boxes, scores, least=FACE):
    """One image's boxes (N, 4) and scores (N,) -> the faces' (n, 4) and (n,), best first, overlapping ones suppressed.

    Overlap is counted in whole pixels, both ends included; only scores above `least` are kept.
    """
    boxes, scores = boxes[scores > CANDIDATE], scores[scores > CANDIDATE]
    kept = nms(boxes + boxes.new_tensor([0, 0, 1, 1]), scores, OVERLAP)
    kept = kept[scores[kept] > least]
    return boxes[kept], scores[kept]
