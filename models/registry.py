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
        feature_layers, features_from_z(z, psi, layer), features(w_plus, layer)     its inner activations
        entry_weights()     the matrices by which w, or z without W, enters its layers, if they are known
        recognises(keys), settings(shapes)              of a state dict, to build a network from it
        num_classes, names(), codes(z, classes), classes(codes)     if it is conditional
        truncate(z, psi)                                if truncation scales z, or it is conditional
    """

    name: str
    module: str
    spaces: tuple[str, ...]  # latent spaces, Z first
    truncates: bool  # codes towards the mean of W, or z towards 0
    usual_truncation: float = 1.0  # at which most images are good, and still differ
    conditional: bool = False  # whether a code holds a class besides z
    scales_z: bool = False  # truncation only scales z: what goes into the network is truncated z

    def network(self):
        return getattr(import_module(self.module), self.name)

    def check(self, gan, space, truncation, classes=None):
        """Raise UserError if this family has no such space, truncation or classes. gan: what the user calls the
        generator."""
        if space not in self.spaces:
            raise UserError(f"{gan} is a {self.name}, which has no space {space}: use --stylegan-space="
                            f"{' or '.join(self.spaces)}")
        if truncation != 1 and not self.truncates:
            raise UserError(f"{gan} is a {self.name}, which has no truncation: leave out --truncation")
        if classes is not None and not self.conditional:
            raise UserError(f"{gan} is a {self.name}, which has no classes: leave out --biggan-target-classes")


FAMILIES = {
    family.name: family
    for family in (
        Family("StyleGAN2", "models.stylegan2", ("Z", "W", "W+", "S"), truncates=True, usual_truncation=0.7),
        Family("ProgGAN", "models.pggan", ("Z",), truncates=False),
        Family("BigGAN", "models.biggan", ("Z",), truncates=True, conditional=True),
        Family("BigGANDeep", "models.biggan", ("Z",), truncates=True, conditional=True),
        Family("DCGAN", "models.dcgan", ("Z",), truncates=True, usual_truncation=0.85, scales_z=True),
    )
}


@dataclass(frozen=True)
class Weights:
    file: Path
    family: str
    resolution: int  # pixels per side
    fetched_by: str | None = None  # the command; None: part of the repository, or brought by hand
    by_hand: str | None = None  # what to do if no command brings them

    @classmethod
    def genforce(cls, name, family, resolution):
        return cls(PRETRAINED / "genforce" / f"{name}.pth", family, resolution, f"python download.py --only {name}")

    @classmethod
    def biggan_deep(cls, name, resolution):
        command = f"python download.py --only {name}"
        return cls(PRETRAINED / "biggan" / f"{name}.pth", "BigGANDeep", resolution, command)

    @classmethod
    def portraits(cls, name, family):
        return cls(PRETRAINED / "portraits" / f"{name}.pth", family, 64)


GENERATORS = {
    "stylegan2_portraits64": Weights.portraits("stylegan2_portraits64", "StyleGAN2"),
    "pggan_portraits64": Weights.portraits("pggan_portraits64", "ProgGAN"),
    "biggan_portraits64": Weights.portraits("biggan_portraits64", "BigGAN"),
    "dcgan_faces64": Weights(PRETRAINED / "faces" / "dcgan_faces64.pth", "DCGAN", 64),
    "stylegan2_ffhq1024": Weights.genforce("stylegan2_ffhq1024", "StyleGAN2", 1024),
    "stylegan2_afhqcat512": Weights.genforce("stylegan2_afhqcat512", "StyleGAN2", 512),
    "stylegan2_afhqdog512": Weights.genforce("stylegan2_afhqdog512", "StyleGAN2", 512),
    "stylegan2_car512": Weights.genforce("stylegan2_car512", "StyleGAN2", 512),
    "stylegan2_church256": Weights.genforce("stylegan2_church256", "StyleGAN2", 256),
    "pggan_celebahq1024": Weights.genforce("pggan_celebahq1024", "ProgGAN", 1024),
    "pggan_church256": Weights.genforce("pggan_church256", "ProgGAN", 256),
    "pggan_car256": Weights.genforce("pggan_car256", "ProgGAN", 256),
    "biggan-deep-128": Weights.biggan_deep("biggan-deep-128", 128),
    "biggan-deep-256": Weights.biggan_deep("biggan-deep-256", 256),
    "biggan-deep-512": Weights.biggan_deep("biggan-deep-512", 512),
    "biggan-128": Weights(
        PRETRAINED / "biggan" / "biggan-128.pth", "BigGAN", 128,
        by_hand="put there G_ema.pth of BigGAN-PyTorch's model of 128 px, which its README links to",
    ),
}

# CLIPs with a name besides those of the package `clip`.
CLIP_FILES = {
    "clip_portraits64": PRETRAINED / "portraits" / "clip_portraits64.pt",
    "clip_faces64": PRETRAINED / "faces" / "clip_faces64.pt",
}


OWN_CODE = "python:"  # what the name of a generator begins with that is the user's own code


def is_own_code(gan):
    """Whether a generator's name stands for code that would be run."""
    return str(gan).startswith(OWN_CODE)


def own_code(gan):
    """(file, function) of `python:FILE:FUNCTION`. Raises UserError where it is not written so."""
    file, _, function = str(gan).removeprefix(OWN_CODE).rpartition(":")
    if not file or not function.isidentifier():
        raise UserError(f"{gan} is not python:FILE:FUNCTION, as in python:my_gan.py:build")
    return Path(file), function


def family_of(name):
    """The family of a generator by its name, without reading its weights; None for a file, and for the user's code."""
    return FAMILIES[GENERATORS[name].family] if name in GENERATORS else None
