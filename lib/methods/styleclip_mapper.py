"""StyleCLIP's latent mapper (Patashnik et al., ICCV 2021, section 5): for each sentence a network that edits codes.

    w -> w_hat = w + 0.1 M(w) -> image -> CLIP
    loss = 1 - cos(CLIP(image), CLIP(sentence)) + 0.1 (1 - cos(ArcFace)) + 0.8 mean (w_hat - w)^2

The sentence is the first of a dipole; the second one is not looked at.
"""

from dataclasses import dataclass

from lib.arguments import number
from lib.methods.text_edits import (
    CLIP_INPUTS,
    WEIGHT,
    MapperSettings,
    TextEdit,
    encode_styleclip,
    identity_loss,
    read_checkpoint,
)
from lib.settings import setting
from models.errors import UserError

TYPES = ("levels", "single")


@dataclass(frozen=True, kw_only=True)
class StyleCLIPMapperSettings(MapperSettings):
    mapper_type: str = setting("levels", TYPES, named=True)
    clip_lambda: float = setting(1.0, WEIGHT)
    clip_input: str = setting("clip", CLIP_INPUTS)


class StyleCLIPMapper(TextEdit):
    Settings = StyleCLIPMapperSettings

    @staticmethod
    def add_arguments(parser):
        g = parser.add_argument_group("styleclip-mapper")
        g.add_argument("--mapper-type", choices=TYPES,
                       help="W+: a network for each group of layers, or a single one (default: levels)")
        g.add_argument("--clip-lambda", type=number(float, WEIGHT), metavar="L",
                       help="weight of going where the sentence says (default: 1)")

    @staticmethod
    def defaults(given, family):
        return {"lr": 0.5, "batch_size": 2, "max_iter": 50_000, "id_lambda": 0.1}

    @staticmethod
    def check(settings):
        if len(settings.groups) == 3:
            pass
        elif settings.stylegan_space == "S" or settings.mapper_type == "single":
            raise UserError("--no-coarse-mapper, --no-medium-mapper and --no-fine-mapper go with --stylegan-space=W+ "
                            "and --mapper-type=levels")
        elif not settings.groups:
            raise UserError("without the coarse, the medium and the fine mapper nothing is left: keep one")
        if settings.stylegan_space == "S" and settings.mapper_type == "single":
            raise UserError("--mapper-type=single goes with --stylegan-space=W+")

    @staticmethod
    def experiment_name(settings, gan, corpus, num_paths):
        """StyleCLIPmapper_<gan>-<space><last layer>-K<paths>-<type>-<norm>[-no_<group>..]-<corpus>"""
        return (f"StyleCLIPmapper_{gan}-{settings.space_name}-K{num_paths}-{settings.mapper_type}"
                f"-{settings.design}-{corpus}")

    @classmethod
    def read_published(cls, path):
        """A mapper's checkpoint: {"state_dict", "opts"}, beside the mapper's tensors those of its generator."""
        checkpoint = read_checkpoint(path)
        if checkpoint is None or any(key.startswith("text_mapper.") for key in checkpoint.state):
            return None
        state = {f"mappers.0.{key.removeprefix('mapper.')}": tensor for key, tensor in checkpoint.state.items()}
        space = "S" if any(key.startswith("mappers.0.mapper_") for key in state) else "W+"
        return checkpoint.published("styleclip-mapper", state, space)

    @staticmethod
    def weights_file(settings):
        return "mappers.pt"

    @classmethod
    def build(cls, settings, space, labels, device):
        method = super().build(settings, space, labels, device)
        method.targets = method.styleclip_targets()
        return method

    def begin(self):
        from lib.draws import generator_for
        from lib.paths.mappers import LevelsMapper, Mappers, SingleMapper, StylesMapper, moved_widths

        settings, space = self.settings, self.space

        def network():
            if space.name == "S":
                return StylesMapper(moved_widths(space))
            if settings.mapper_type == "single":
                return SingleMapper(space.generator.w_dim, settings.mapper_norm)
            return LevelsMapper(space.generator.w_dim, settings.mapper_norm, settings.groups)

        mappers = Mappers([network() for _ in self.labels], settings.mapper_norm)
        self.trained = mappers.draw_weights(generator_for(settings.seed, 2, 0))
        return {}

    @classmethod
    def load_paths(cls, state, space, source):
        from lib.paths.mappers import Mappers

        return Mappers.from_state(state, space, source).to(space.device)

    def see(self, codes, batch):
        """ArcFace's features, where faces are compared; of the edited codes CLIP's before them."""
        images = self.space.synthesise(codes)
        clip = [encode_styleclip(self.clip_encoder, images, self.settings.clip_input)] if codes.requires_grad else []
        return (*clip, *([] if self.arcface is None else [self.identity(images)]))

    def loss(self, seen, ends, batch):
        import torch.nn.functional as F

        settings, (codes, indices) = self.settings, batch
        features, faces = (seen[0], None) if self.arcface is None else (seen[1][0], (seen[1][1], seen[0]))
        cosines = (F.normalize(features, dim=1) * self.targets[indices]).sum(dim=1)
        loss = settings.clip_lambda * (1 - cosines).mean()
        loss = loss + settings.latent_l2_lambda * self.code_loss(self.offsets(ends[-1], codes))
        return loss if faces is None else loss + settings.id_lambda * identity_loss(*faces)

    def code_loss(self, offsets):
        """The mean square of offsets (B, d); in S the sum of it over the style vectors."""
        from lib.paths.mappers import moved_widths

        if self.space.name != "S":
            return offsets.square().mean()
        return sum(part.square().mean() for part in offsets.split(moved_widths(self.space), dim=1))

    def optimizer(self):
        from lib.methods.ranger import Ranger

        return Ranger(self.trained.parameters(), self.settings.lr)
