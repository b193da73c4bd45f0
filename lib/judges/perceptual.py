"""LPIPS (Zhang et al., 2018, arXiv:1801.03924): how far apart two images look, by the activations of a classifier.

Its few linear weights lie in the repository (`models/pretrained/lpips`). The classifier's are torchvision's, from the
folder where torchvision keeps what it downloads; nothing is downloaded here.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from models.errors import UserError
from models.files import sha256
from models.registry import PRETRAINED
from models.untrusted.tensor_files import load_tensors

# Mean and deviation of the colours in [-1, 1] that the linear weights were fitted for.
MEAN, DEVIATION = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class Backbone(NamedTuple):
    build: str  # torchvision.models'
    file: str  # which ends with the first 8 digits of its SHA-256, as torchvision names and checks it
    taps: tuple  # indices of the layers of `features` whose activations are compared
    linear: Path


BACKBONES = {
    "alex": Backbone("alexnet", "alexnet-owt-7be5be79.pth", (1, 4, 7, 9, 11), PRETRAINED / "lpips" / "alex.pth"),
    "vgg": Backbone("vgg16", "vgg16-397923af.pth", (3, 8, 15, 22, 29), PRETRAINED / "lpips" / "vgg.pth"),
}


class Lpips(nn.Module):
    """Images (B, 3, H, W) in [-1, 1] and others -> their distances (B,), differentiable with respect to both."""

    def __init__(self, layers, taps, weights):
        """layers: an nn.Sequential; taps: indices into it; weights: for each tap, one of each channel (C,)."""
        super().__init__()
        self.layers, self.taps = layers[: taps[-1] + 1], taps
        self.register_buffer("mean", torch.tensor(MEAN).view(-1, 1, 1))
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(-1, 1, 1))
        for index, weight in enumerate(weights):
            self.register_buffer(f"weight{index}", weight.view(-1, 1, 1))

    def _activations(self, images):
        """At each tap, the activations (B, C, H, W), of unit length at each pixel."""
        x = (images - self.mean) / self.deviation
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index in self.taps:
                yield x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + 1e-10)

    def forward(self, images, others):
        pairs = zip(self._activations(images), self._activations(others), strict=True)
        distances = [
            (getattr(self, f"weight{index}") * (x - y).square()).sum(dim=1).mean(dim=(1, 2))
            for index, (x, y) in enumerate(pairs)
        ]
        return torch.stack(distances).sum(dim=0)


def load_lpips(name="alex", device="cpu"):
    """The frozen `Lpips` of a backbone: "alex", as papers report it, or "vgg", which is smoother to optimise.

    Raises UserError, which says where to get them, where torchvision's weights are not on this machine.
    """
    backbone = BACKBONES[name]
    state = load_tensors(_backbone_file(backbone))
    import torchvision  # here: it takes seconds, and few machines have the weights

    with torch.device("meta"):  # neither room nor random numbers for what is loaded, or left out
        layers = getattr(torchvision.models, backbone.build)(weights=None).features
    prefix = "features."
    layers.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}, assign=True)
    linear = load_tensors(backbone.linear)
    weights = [linear[f"lin{index}.model.1.weight"].flatten() for index in range(len(backbone.taps))]
    return Lpips(layers, backbone.taps, weights).eval().requires_grad_(False).to(device)


def has_weights(name="alex"):
    """Whether torchvision's weights of a backbone are on this machine."""
    return _place(BACKBONES[name]).is_file()


def _place(backbone):
    return Path(torch.hub.get_dir()) / "checkpoints" / backbone.file


def _backbone_file(backbone):
    file = _place(backbone)
    get = (f"where there is a network, run `python -c \"import torchvision; torchvision.models.{backbone.build}"
           f"(weights='DEFAULT')\"`, or fetch https://download.pytorch.org/models/{backbone.file} into that place")
    if not file.is_file():
        raise UserError(f"LPIPS needs torchvision's weights {file}, which are missing: {get}")
    if not sha256(file).startswith(file.stem.rpartition("-")[2]):
        raise UserError(f"{file} is damaged, its SHA-256 is another than its name says: remove it and, {get}")
    return file
