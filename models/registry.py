"""The generators that go by a name: where their weights lie, and what they must be."""

from dataclasses import dataclass
from pathlib import Path

PRETRAINED = Path(__file__).parent / "pretrained"


@dataclass(frozen=True)
class Weights:
    file: Path
    kind: str  # "StyleGAN2" or "ProgGAN"
    resolution: int  # pixels a side
    fetched_by: str | None = None  # the command; None: part of the repository

    @classmethod
    def genforce(cls, name, kind, resolution):
        return cls(PRETRAINED / "genforce" / f"{name}.pth", kind, resolution, f"python download.py --only {name}")

    @classmethod
    def portraits(cls, name, kind):
        return cls(PRETRAINED / "portraits" / f"{name}.pth", kind, 64)


GENERATORS = {
    "stylegan2_portraits64": Weights.portraits("stylegan2_portraits64", "StyleGAN2"),
    "pggan_portraits64": Weights.portraits("pggan_portraits64", "ProgGAN"),
    "stylegan2_ffhq1024": Weights.genforce("stylegan2_ffhq1024", "StyleGAN2", 1024),
    "stylegan2_afhqcat512": Weights.genforce("stylegan2_afhqcat512", "StyleGAN2", 512),
    "stylegan2_afhqdog512": Weights.genforce("stylegan2_afhqdog512", "StyleGAN2", 512),
    "stylegan2_car512": Weights.genforce("stylegan2_car512", "StyleGAN2", 512),
    "stylegan2_church256": Weights.genforce("stylegan2_church256", "StyleGAN2", 256),
    "pggan_celebahq1024": Weights.genforce("pggan_celebahq1024", "ProgGAN", 1024),
    "pggan_church256": Weights.genforce("pggan_church256", "ProgGAN", 256),
    "pggan_car256": Weights.genforce("pggan_car256", "ProgGAN", 256),
}

# CLIPs besides those that the package `clip` knows by name.
CLIP_FILES = {"clip_portraits64": PRETRAINED / "portraits" / "clip_portraits64.pt"}


def generator_kind(name):
    """The kind of a generator by its name, without reading its weights; None for a file."""
    return GENERATORS[name].kind if name in GENERATORS else None
