"""What the methods share that edit codes towards sentences: StyleCLIP's mapper and optimisation, and CF-CLIP.

    edited code -> image -> CLIP, and ArcFace
    towards the first sentence of a dipole; near to the code that it was; the same person where ArcFace's weights are
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from lib import distributed
from lib.arguments import number
from lib.config import DEFAULT_CLIP
from lib.methods.method import Method
from lib.methods.published import Published
from lib.settings import FACT, Range, TrainingSettings, setting
from models.errors import UserError

WEIGHT = Range(low=0)  # of a term of a loss
FRAME = 256  # pixels of the frame that ArcFace's crop is cut from
NORMS = ("channels", "layers")  # of lib.paths.mappers
CLIP_INPUTS = ("clip", "published")
PUBLISHED_TRUNCATION = 0.7


@dataclass(frozen=True, kw_only=True)
class EditSettings(TrainingSettings):
    corpus: str = setting("", named=True)
    clip_model: str = setting(DEFAULT_CLIP)
    pool: str | None = setting(None)
    pool_sha1: str | None = setting(None, use=FACT)  # of its codes, as the generator takes them
    id_lambda: float = setting(0.0, WEIGHT)
    has_identity: bool | None = setting(None, use=FACT)  # whether ArcFace's weights were there
    latent_l2_lambda: float = setting(0.8, WEIGHT)


@dataclass(frozen=True, kw_only=True)
class MapperSettings(EditSettings):
    mapper_norm: str = setting("channels", NORMS, named=True)
    no_coarse_mapper: bool = setting(False, named=True)
    no_medium_mapper: bool = setting(False, named=True)
    no_fine_mapper: bool = setting(False, named=True)

    @property
    def groups(self):
        """Those of `lib.paths.mappers.GROUPS` that have a network."""
        left_out = {"course": self.no_coarse_mapper, "medium": self.no_medium_mapper, "fine": self.no_fine_mapper}
        return [group for group, is_left_out in left_out.items() if not is_left_out]

    @property
    def design(self):
        """Of the networks, for the experiment's name."""
        left_out = {"coarse": self.no_coarse_mapper, "medium": self.no_medium_mapper, "fine": self.no_fine_mapper}
        return "-".join([self.mapper_norm, *(f"no_{group}" for group in left_out if left_out[group])])


def add_shared_arguments(parser):
    """The flags that more than one of the methods has."""
    g = parser.add_argument_group("styleclip-mapper, cf-clip: networks")
    g.add_argument("--mapper-norm", choices=NORMS,
                   help="what a code is normalised over; layers: as published, which leaves nothing but signs of codes "
                        "whose layers are all the same (default: channels)")
    for group, layers in (("coarse", "0 to 3"), ("medium", "4 to 7"), ("fine", "8 and on, which hold the colours")):
        g.add_argument(f"--no-{group}-mapper", action="store_true", help=f"leave layers {layers} alone")
    g = parser.add_argument_group("styleclip-mapper, styleclip-optimization, cf-clip: what is edited, and the loss")
    g.add_argument("--pool",
                   help="codes of sample_gan.py, by name or directory, that are edited; styleclip-optimization needs "
                        "it, the others sample codes without it")
    g.add_argument("--id-lambda", type=number(float, WEIGHT), metavar="L",
                   help="weight of staying the same person, by ArcFace (default: 0.1; styleclip-optimization: 0, "
                        "cf-clip: 0.2)")
    g.add_argument("--latent-l2-lambda", type=number(float, WEIGHT), metavar="L",
                   help="weight of staying near to the code (default: 0.8; styleclip-optimization: 0.008)")
    g = parser.add_argument_group("styleclip-mapper, styleclip-optimization: CLIP")
    g.add_argument("--clip-input", choices=CLIP_INPUTS,
                   help="published: images as StyleCLIP's code shows them to a CLIP of 224 pixels, neither in [0, 1] "
                        "nor with CLIP's mean and deviation taken out (default: clip, as it was trained)")


class TextEdit(Method):
    """Codes, of --pool or sampled, and edits of them towards the first sentences of dipoles."""

    Settings = EditSettings
    reads_corpus = True
    spaces = ("W+", "S")

    @classmethod
    def space_of(cls, settings, space):
        """All layers move, unless --stylegan-layer says otherwise."""
        from lib.latent_space import whole_space

        return whole_space(space) if settings.stylegan_layer is None else space

    @classmethod
    def build(cls, settings, space, labels, device):
        from lib.dipoles import encode_dipoles, examine_dipoles
        from lib.judges.faces.arcface import ArcFace
        from models.clip_encoder import load_clip

        method = cls(settings, space, labels)
        method.clip_encoder = load_clip(settings.clip_model, device)
        examine_dipoles(labels, encode_dipoles(labels, method.clip_encoder))
        method.codes = read_codes(settings, space) if settings.pool else None
        method.arcface = load_where_present(ArcFace, "--id-lambda", settings.id_lambda, device)
        return method

    def facts(self):
        from lib.pools import code_hash

        pool_sha1 = None if self.codes is None else code_hash(self.codes.cpu())
        return {"pool_sha1": pool_sha1, "has_identity": self.arcface is not None if self.settings.id_lambda else None}

    def encode_texts(self):
        """The first sentence of each dipole (K, E), as CLIP has it."""
        return self.clip_encoder.encode_text([positive for positive, _ in self.labels])

    def styleclip_targets(self):
        """What StyleCLIP compares images with: the unit features of the first sentences (K, E). Raises UserError where
        --clip-input asks for images that the CLIP cannot see."""
        import torch.nn.functional as F

        check_clip_input(self.clip_encoder, self.settings.clip_input)
        return F.normalize(self.encode_texts(), dim=1)

    def draw(self, iteration):
        """codes (B, ...) of the space, path indices (B,)."""
        import torch

        from lib.draws import generator_for

        z, indices = super().draw(iteration)
        if self.codes is None:
            with torch.no_grad():
                return self.space.codes_of(z.to(self.space.device)), indices
        generator = generator_for(self.settings.seed, 3, iteration)
        return self.codes[torch.randint(len(self.codes), (len(z),), generator=generator)], indices

    def ends(self, batch):
        """The edited codes; before them, where faces are compared, those that were."""
        codes, indices = batch[:2]
        edited = self.space.shift(codes, self.paths(self.space.positions(codes), indices))
        return [edited] if self.arcface is None else [codes, edited]

    def identity(self, images):
        """Images (B, 3, H, W) -> ArcFace's features (B, 512) of unit length."""
        from lib.judges.faces.arcface import crop
        from lib.methods.clip_inputs import pooled_to

        return self.arcface(crop(pooled_to(images, FRAME)))

    def offsets(self, edited, codes):
        """Codes twice -> how far the positions have moved (B, d)."""
        return self.space.positions(edited) - self.space.positions(codes)


def identity_loss(after, before):
    """1 - cosine of unit features (B, E), which must not be those of another person: a mean over B."""
    return 1 - (after * before.detach()).sum(dim=1).mean()


def encode_styleclip(clip_encoder, images, clip_input):
    """Images (B, 3, H, W) in [-1, 1] -> CLIP's features (B, E). clip_input: of CLIP_INPUTS."""
    from lib.methods.clip_inputs import styleclip_input

    if clip_input == "clip":
        return clip_encoder.encode_images(images)
    return clip_encoder.model.encode_image(styleclip_input(images))


def check_clip_input(clip_encoder, clip_input):
    """Raise UserError where a CLIP cannot be shown images as published."""
    if clip_input == "published" and clip_encoder.resolution != 224:
        raise UserError(f"--clip-input=published goes with a CLIP that sees 224 pixels, and this one sees "
                        f"{clip_encoder.resolution}: leave it out")


def load_where_present(build, flag, weight, device):
    """A frozen network, or None where its term has no weight or its file is not there, which is said."""
    if not weight:
        return None
    from lib.judges.faces.checkpoints import load_network

    file = build.checkpoint.file
    if file.is_file():
        return load_network(build, device)
    if distributed.is_first():
        print(f"{flag} has no effect: {build.__name__}'s weights are not in {file}", file=sys.stderr)
    return None


def read_codes(settings, space):
    """The codes of --pool, in the order of their names: (N, ...) as the space takes them.

    Raises UserError where there is no such pool, or it is another generator's.
    """
    import torch

    from lib.pools import code_directories, find_pool, read_code
    from models.load_generator import generator_name

    pool = find_pool(settings.pool, generator_name(settings.gan), settings.gan_sha256)
    with torch.no_grad():
        return torch.cat([
            read_code(directory, space, w_space=not (directory / "latent_code_z.pt").is_file())
            for directory in code_directories(pool)
        ])  # fmt: skip


@dataclass(frozen=True)
class Checkpoint:
    """Of a published mapper: its file, its sentence, and its tensors as they are called there."""

    file: Path
    description: str
    state: dict

    def published(self, method, state, space):
        """A `Published` with a state as `Mappers` has it. Where codes were sampled, they were truncated by 0.7."""
        state = state | {"_extra_state": {"norm": "layers"}}
        values = {"truncation": PUBLISHED_TRUNCATION, "mapper_norm": "layers"}
        return Published(method, self.file, state, [self.description], (space,), "StyleGAN2", values=values)


def read_checkpoint(path):
    """The `Checkpoint` in a file as StyleCLIP's and CF-CLIP's code write it, or None where it is something else.

    Raises UserError where it does not say its sentence.
    """
    from models.untrusted.tensor_files import load_tensors

    if not path.is_file():
        return None
    try:
        content = load_tensors(path)
    except UserError:
        return None
    content = content if isinstance(content, dict) else {}
    tensors, options = content.get("state_dict"), content.get("opts")
    if not isinstance(tensors, dict) or not isinstance(options, dict):
        return None
    own = ("mapper.", "text_mapper.")
    state = {key: tensor for key, tensor in tensors.items() if isinstance(key, str) and key.startswith(own)}
    if not state:
        return None
    description = options.get("description")
    if not isinstance(description, str) or not description.isprintable() or not description.strip():
        raise UserError(f"{path} has a mapper, and does not say for which sentence (description)")
    return Checkpoint(path, description, state)
