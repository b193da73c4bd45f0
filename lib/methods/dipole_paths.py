"""What ContraCLIP's losses share: settings and flags, sentences and CLIP, the kinds of paths and where they begin."""

from dataclasses import dataclass

from lib.arguments import number, positive_int
from lib.config import DEFAULT_CLIP
from lib.methods import shifts
from lib.methods.method import Method
from lib.settings import COUNT, FACT, POSITIVE, Range, TrainingSettings, setting
from models.errors import UserError

CSS_BETA = Range(0.25, 1, open_high=True)
LSS_BETA = Range(0, 1, open_low=True, open_high=True)
# Of --loss=paired, chosen on the portraits: docs/quality.md.
PAIRED = {"loss": "paired", "path": "lines", "lss_start": "text", "lr": 0.02, "batch_size": None, "max_iter": 70,
          "min_shift_magnitude": 1.1, "max_shift_magnitude": 1.8}  # fmt: skip
AUTHORS_ONLY = "linear", "styleclip", "css_beta", "temperature"  # settings without use for the paired loss
PAIRS_PER_PATH = 4  # of codes in a batch of the paired loss


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
    shift_unit: str = setting(shifts.OWN, shifts.UNITS, named=True)
    path: str = setting("sets", ("sets", "lines"), named=True)
    lss_start: str = setting("random", ("random", "text"), named=True)
    loss: str = setting("cossim", ("cossim", "contrastive", "paired"), named=True)
    temperature: float = setting(1.0, POSITIVE, named=True)
    clip_embed_dim: int | None = setting(None, COUNT, FACT)
    jung_radius: float | None = setting(None, POSITIVE, FACT)
    shortest_shift: float | None = setting(None, POSITIVE, FACT)  # in units of the space, of all paths
    longest_shift: float | None = setting(None, POSITIVE, FACT)
    walk_length: float | None = setting(None, POSITIVE, FACT)  # paired: how far a walk goes, if it is not said

    @property
    def idea(self):
        """Which of `objectives.IDEAS` sets the direction of the text."""
        return "styleclip" if self.styleclip else "linear" if self.linear else "nonlinear"


def usual_codes(family):
    """The settings of the space and the truncation that suit a family of generators; none if it is not known."""
    if family is None:
        return {}
    return {"stylegan_space": "W" if "W" in family.spaces else "Z", "truncation": family.usual_truncation}


class DipolePaths(Method):
    Settings = ContraCLIPSettings
    reads_corpus = True

    @staticmethod
    def add_arguments(parser):
        g = parser.add_argument_group("contraclip: text")
        g.add_argument("--css-beta", "--beta", dest="css_beta", type=number(float, CSS_BETA),
                       metavar="BETA",
                       help="value of a pole's kernel at the other pole, in [0.25, 1); larger is more linear "
                            "(default: 0.5)")
        idea = g.add_mutually_exclusive_group()
        idea.add_argument("--linear", action="store_true", help="the text points along the difference of the poles")
        idea.add_argument("--styleclip", action="store_true", help="the text points to the pole itself")
        g = parser.add_argument_group("contraclip: paths")
        g.add_argument("--path", choices=("sets", "lines"),
                       help="what a path is: bent by sets of RBF kernels, or a straight line (default: lines with "
                            "--loss=paired, else sets)")
        g.add_argument("--lss-start", choices=("random", "text"),
                       help="where training begins: at random paths, or at directions found from the sentences in "
                            "closed form (default: text with --loss=paired, which takes the metric of its loss, its "
                            "shifts and the walk's length from their measurement wherever it begins; else random)")
        g.add_argument("--num-latent-support-dipoles", type=positive_int, metavar="N",
                       help="sets: pairs of support vectors per path (default: 32)")
        g.add_argument("--lss-beta", type=number(float, LSS_BETA), metavar="BETA",
                       help="sets: value of a support vector's kernel at its antipode when training begins, in (0, 1) "
                            "(default: 0.5 with --lss-start=text, else 0.1)")
        g = parser.add_argument_group("contraclip: training")
        g.add_argument("--loss", choices=("paired", "contrastive", "cossim"),
                       help="what is compared with the text: both ends of a path with each other (paired), or one end "
                            "with the start, as the authors do (contrastive, cossim) (default: paired)")

    @staticmethod
    def defaults(given, family):
        """Those of `Settings` are the authors'; the paired loss has its own."""
        own = PAIRED | usual_codes(family) if given.get("loss", "paired") == "paired" else {}
        if (own | given).get("lss_start") == "text":
            own["lss_beta"] = 0.5
        return own

    @staticmethod
    def check(settings):
        shifts.check(settings)
        usual = ContraCLIPSettings(gan="")
        changed = [name for name in AUTHORS_ONLY if getattr(settings, name) != getattr(usual, name)]
        if settings.loss == "paired" and changed:
            raise UserError(f"--{changed[0].replace('_', '-')} belongs to the authors' losses: leave it out, or give "
                            "--loss=contrastive or cossim")
        if settings.path == "lines" and settings.num_latent_support_dipoles != usual.num_latent_support_dipoles:
            raise UserError("--num-latent-support-dipoles goes with --path=sets: lines are not bent")

    @staticmethod
    def batch_size(settings, num_paths):
        return settings.batch_size or PAIRS_PER_PATH * num_paths

    @staticmethod
    def weights_file(settings):
        return "latent_support_sets.pt" if settings.path == "sets" else "paths.pt"

    @staticmethod
    def experiment_name(settings, gan, corpus, num_paths):
        """As in the published README: ContraCLIP_<gan>-<space>-K<paths>-D<dipoles>-eps<min>_<max>-<idea>_beta-<beta>
        -<loss>-<corpus>, where W+ and S are followed by the last layer that moves, and contrastive by _<temperature>.
        Shares of the Jung radius are followed by R. `lines` replaces D<dipoles> where paths are straight, a start that
        is not the loss' usual one is named, and the paired loss, which does not warp the text, has no
        <idea>_beta-<beta>."""
        loss = f"contrastive_{settings.temperature}" if settings.loss == "contrastive" else settings.loss
        path = "lines" if settings.path == "lines" else f"D{settings.num_latent_support_dipoles}"
        usual = "text" if settings.loss == "paired" else "random"
        start = "" if settings.lss_start == usual else f"-{settings.lss_start}"
        text = "" if settings.loss == "paired" else f"-{settings.idea}_beta-{settings.css_beta}"
        return (f"ContraCLIP_{gan}-{settings.space_name}-K{num_paths}-{path}{start}"
                f"-{shifts.name_of(settings)}{text}-{loss}-{corpus}")

    @staticmethod
    def walk_length(settings):
        return settings.walk_length

    def load_text(self, device):
        """Load the CLIP and encode the sentences."""
        from lib.dipoles import encode_dipoles, examine_dipoles
        from lib.paths.support_sets import CorpusSupportSets
        from models.clip_encoder import load_clip

        self.clip_encoder = load_clip(self.settings.clip_model, device)
        features = encode_dipoles(self.labels, self.clip_encoder)
        examine_dipoles(self.labels, features)
        self.text = CorpusSupportSets(features, self.settings.css_beta)
        return self

    def describe_corpus(self):
        """A table of what the sentences ask of the generator, as text."""
        from lib.methods.corpus_table import corpus_table

        return corpus_table(self.labels, self.text.poles.cpu(), self.text_start(self.radius), self.radius,
                            self.clip_encoder.unknown_words)

    def facts(self):
        return {"clip_embed_dim": self.clip_encoder.embed_dim}

    def begin(self):
        start = self.text_start(self.radius) if self.settings.lss_start == "text" else None
        self.trained = self.initial_paths(self.radius, start)
        return {"jung_radius": self.radius, **shifts.facts(*self.shift_range)}

    def begin_roughly(self):
        """The text start may take minutes."""
        if self.settings.lss_start != "text":
            return False
        self.trained = self.rough_paths().to(self.space.device)
        return True

    def rough_paths(self):
        """Random paths, of the kind that the settings ask for."""
        return self.initial_paths(1.0, None)

    @property
    def shift_range(self):
        """The shortest and the longest shift of a batch."""
        return shifts.in_the_space(self)

    def text_start(self, radius):
        """The `TextStart` of the labels."""
        from lib.methods.text_start import TextStart

        return TextStart.fit(self.response(radius), self.text.poles.cpu())

    def response(self, radius, progress=None):
        """The `Response` of the space's images to moves, as the CLIP sees them."""
        from lib.methods.text_start import measure_response

        see = lambda codes: self.see(codes, None)
        return measure_response(self.space, see, radius, self.response_names(), self.settings.seed, progress)

    def response_names(self):
        """What tells the response from those of other generators, spaces and CLIPs."""
        settings = self.settings
        return [settings.gan_sha256, settings.stylegan_space, settings.stylegan_layer, settings.truncation,
                settings.synthesis_resolution, self.clip_encoder.fingerprint]  # fmt: skip

    def initial_paths(self, radius, start):
        """The paths before training: random ones, or where `start` is given those of a `TextStart`."""
        from lib.draws import generator_for
        from lib.paths.lines import Lines
        from lib.paths.support_sets import LatentSupportSets

        settings, num_paths, dim = self.settings, len(self.labels), self.space.dim
        generator = generator_for(settings.seed, 2, 0)
        if settings.path == "lines":
            return Lines(start.directions) if start else Lines.random(num_paths, dim, generator)
        rest = settings.num_latent_support_dipoles, radius, settings.lss_beta, generator
        if start:
            return LatentSupportSets.around(start.response.mean, start.directions, *rest)
        num_dipoles, *rest = rest
        return LatentSupportSets.random(num_paths, num_dipoles, dim, *rest)

    @classmethod
    def load_paths(cls, state, space, source):
        from lib.paths.lines import Lines
        from lib.paths.support_sets import LatentSupportSets

        kind = Lines if isinstance(state, dict) and "DIRECTIONS" in state else LatentSupportSets
        return kind.from_state(state, space.dim, source).to(space.device)

    def draw(self, iteration):
        """z (B, z_dim), path indices (B,), signed shifts (B,)."""
        from lib.draws import draw

        z_dim, seed = self.space.generator.z_dim, self.settings.seed
        return draw(iteration, self.settings.batch_size, len(self.labels), z_dim, self.shift_range, seed)

    def see(self, codes, batch):
        return self.clip_encoder.encode_images(self.space.synthesise(codes))
