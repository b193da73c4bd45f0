"""The families of generators and what each has; the generators with a name, and where their weights are."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from models.errors import UserError

PRETRAINED = Path(__file__).parent / "pretrained"


@dataclass(frozen=True)
class Family:
    """What all generators of one architecture have. Their module has a class of the family's name, with

        family          this entry
        z_dim, resolution
        num_layers, w_dim, mapping, w_plus, styles      if it has W, W+ and S
        image_sizes     the sizes at which its synthesis can stop, smallest first
        recognises(keys), settings(shapes)              of a state dict, to build a network from it
    """

    name: str
    module: str
    spaces: tuple[str, ...]  # latent spaces, Z first
    truncates: bool  # towards the mean of W
    conditional: bool = False  # whether an image has a class besides its code

    def network(self):
        return getattr(import_module(self.module), self.name)

    def check(self, gan, space, truncation):
        """Raise UserError if this family has no such space or truncation. gan: what the user calls the generator."""
        if space not in self.spaces:
            raise UserError(f"{gan} is a {self.name}, which has no space {space}: use --stylegan-space="
                            f"{' or '.join(self.spaces)}")
        if truncation != 1 and not self.truncates:
            raise UserError(f"{gan} is a {self.name}, which has no truncation: leave out --truncation")


FAMILIES = {
    family.name: family
    for family in (
        Family("StyleGAN2", "models.stylegan2", ("Z", "W", "W+", "S"), truncates=True),
        Family("ProgGAN", "models.pggan", ("Z",), truncates=False),
    )
}


@dataclass(frozen=True)
class Weights:
    file: Path
    family: str
    resolution: int  # pixels per side
    fetched_by: str | None = None  # the command; None: part of the repository

    @classmethod
    def genforce(cls, name, family, resolution):
        return cls(PRETRAINED / "genforce" / f"{name}.pth", family, resolution, f"python download.py --only {name}")

    @classmethod
    def portraits(cls, name, family):
        return cls(PRETRAINED / "portraits" / f"{name}.pth", family, 64)


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

# CLIPs with a name besides those of the package `clip`.
CLIP_FILES = {"clip_portraits64": PRETRAINED / "portraits" / "clip_portraits64.pt"}


def family_of(name):
    """The family of a generator by its name, without reading its weights; None for a file."""
    return FAMILIES[GENERATORS[name].family] if name in GENERATORS else None
