"""ContraCLIP (Tzelepis et al. 2022): a non-linear path for each pair of contrasting sentences.

    z ~ N(0, I) -> codes -> images -> CLIP -> f0
    codes + shift * support_sets(codes, k) -> images -> CLIP -> f1
    how f1 - f0 points where the text of dipole k asks it to
"""

import math
from dataclasses import dataclass

from lib.arguments import number, positive_float, positive_int
from lib.config import DEFAULT_CLIP
from lib.methods.method import Method
from lib.settings import COUNT, FACT, POSITIVE, Range, TrainingSettings, setting
from models.errors import UserError

CSS_BETA = Range(0.25, 1, open_high=True)
LSS_BETA = Range(0, 1, open_low=True, open_high=True)
DECAY_AFTER = 0.9  # of all iterations; then the learning rate is a tenth


@dataclass(frozen=True, kw_only=True)
class ContraCLIPSettings(TrainingSettings):
    corpus: str = setting("", named=True)
    clip_model: str = setting(DEFAULT_CLIP)
    css_beta: float = setting(0.5, CSS_BETA, named=True)
    linear: bool = setting(False, named=True)
    styleclip: bool = setting(False, named=True)
    num_latent_support_dipoles: int = setting(32, COUNT, named=True)
    lss_beta: float = setting(0.1, LSS_BETA)
    min_shift_magnitude: float = setting(0.25, POSITIVE, named=True)
    max_shift_magnitude: float = setting(0.45, POSITIVE, named=True)
    loss: str = setting("cossim", ("cossim", "contrastive"), named=True)
    temperature: float = setting(1.0, POSITIVE, named=True)
    clip_embed_dim: int | None = setting(None, COUNT, FACT)
    jung_radius: float | None = setting(None, POSITIVE, FACT)

    @property
    def idea(self):
        """Which of `objectives.IDEAS` the text follows."""
        return "styleclip" if self.styleclip else "linear" if self.linear else "nonlinear"


class ContraCLIP(Method):
    Settings = ContraCLIPSettings
    reads_corpus = True
    weights = "latent_support_sets.pt"

    @staticmethod
    def add_arguments(parser):
        g = parser.add_argument_group("contraclip: text")
        g.add_argument("--css-beta", "--beta", dest="css_beta", type=number(float, CSS_BETA),
                       metavar="BETA",
                       help="kernel of a pole at the other pole, in [0.25, 1): larger is more linear (default: 0.5)")
        idea = g.add_mutually_exclusive_group()
        idea.add_argument("--linear", action="store_true", help="the text points along the difference of the poles")
        idea.add_argument("--styleclip", action="store_true", help="the text points at the pole itself")
        g = parser.add_argument_group("contraclip: paths")
        g.add_argument("--num-latent-support-dipoles", type=positive_int, metavar="N",
                       help="dipoles per path (default: 32)")
        g.add_argument("--lss-beta", type=number(float, LSS_BETA), metavar="BETA",
                       help="kernel of a latent support vector at its antipode when training begins, in (0, 1) "
                            "(default: 0.1)")
        g.add_argument("--min-shift-magnitude", type=positive_float, metavar="EPS",
                       help="shortest shift, in units of the latent space (default: 0.25)")
        g.add_argument("--max-shift-magnitude", type=positive_float, metavar="EPS",
                       help="longest shift (default: 0.45)")
        g = parser.add_argument_group("contraclip: training")
        g.add_argument("--loss", choices=("cossim", "contrastive"), help="how moves are compared (default: cossim)")
        g.add_argument("--temperature", type=positive_float,
                       help="of the contrastive loss (default: 1.0; cf-clip: 0.1)")

    @staticmethod
    def check(settings):
        if settings.min_shift_magnitude > settings.max_shift_magnitude:
            raise UserError(f"--min-shift-magnitude {settings.min_shift_magnitude} is above "
                            f"--max-shift-magnitude {settings.max_shift_magnitude}: lower it, or raise the other")

    @staticmethod
    def experiment_name(settings, gan, corpus, num_paths):
        """After the published README: ContraCLIP_<gan>-<space>-K<paths>-D<dipoles>-eps<min>_<max>-<idea>_beta-<beta>
        -<loss>-<corpus>, where W+ and S are followed by their last moved layer and contrastive by _<temperature>."""
        space = settings.stylegan_space + ("" if settings.stylegan_layer is None else str(settings.stylegan_layer))
        loss = f"contrastive_{settings.temperature}" if settings.loss == "contrastive" else settings.loss
        return (f"ContraCLIP_{gan}-{space}-K{num_paths}-D{settings.num_latent_support_dipoles}"
                f"-eps{settings.min_shift_magnitude}_{settings.max_shift_magnitude}"
                f"-{settings.idea}_beta-{settings.css_beta}-{loss}-{corpus}")

    @classmethod
    def build(cls, settings, space, labels, device):
        from lib.dipoles import encode_dipoles
        from lib.paths.support_sets import CorpusSupportSets
        from models.clip_encoder import load_clip

        method = cls(settings, space, labels)
        method.clip_encoder = load_clip(settings.clip_model, device)
        method.text = CorpusSupportSets(encode_dipoles(labels, method.clip_encoder), settings.css_beta)
        return method

    def facts(self):
        return {"clip_embed_dim": self.clip_encoder.embed_dim}

    def begin(self):
        from lib.draws import generator_for
        from lib.latent_space import jung_radius
        from lib.paths.support_sets import LatentSupportSets

        settings = self.settings
        radius = jung_radius(self.space, settings.seed)
        self.trained = LatentSupportSets.random(
            len(self.labels), settings.num_latent_support_dipoles, self.space.dim, radius, settings.lss_beta,
            generator_for(settings.seed, 2, 0),
        )  # fmt: skip
        return {"jung_radius": radius}

    @classmethod
    def load_paths(cls, state, space, source):
        from lib.paths.support_sets import LatentSupportSets

        return LatentSupportSets.from_state(state, space.dim, source).to(space.device)

    def draw(self, iteration):
        """z (B, z_dim), path indices (B,), signed shifts (B,)."""
        from lib.draws import draw

        shift_range = self.settings.min_shift_magnitude, self.settings.max_shift_magnitude
        z_dim, seed = self.space.generator.z_dim, self.settings.seed
        return draw(iteration, self.settings.batch_size, len(self.labels), z_dim, shift_range, seed)

    def ends(self, batch):
        z, indices, shifts = batch
        codes = self.space.codes_of(z)
        directions = self.paths(self.space.positions(codes), indices)
        return [codes, self.space.shift(codes, shifts[:, None] * directions)]

    def see(self, codes, batch):
        return self.clip_encoder.encode_images(self.space.synthesise(codes))

    def loss(self, seen, ends, batch):
        from lib.methods import objectives

        (plain, shifted), (_, indices, shifts), idea = seen, batch, self.settings.idea
        targets = objectives.text_targets(idea, self.text, plain, indices, shifts)
        moves = objectives.image_moves(idea, plain, shifted)
        return objectives.loss(self.settings.loss, moves, targets, indices, shifts, self.settings.temperature)

    def learning_rate(self, iteration):
        late = iteration >= math.ceil(DECAY_AFTER * self.settings.max_iter)
        return self.settings.lr / 10 if late else self.settings.lr
