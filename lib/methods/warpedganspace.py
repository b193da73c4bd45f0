"""WarpedGANSpace (Tzelepis et al. 2021): non-linear paths that a second network can tell apart by their images.

    z ~ N(0, I) -> codes -> image
    codes + magnitude * support_sets(codes, k) -> shifted image
    reconstructor(image, shifted image) -> k, magnitude; both networks learn to get them right
"""

from dataclasses import dataclass

from lib.arguments import learning_rate, number, positive_float, positive_int
from lib.methods import shifts
from lib.methods.method import Method, parts_of, tensors_of
from lib.methods.published import Published
from lib.settings import COUNT, FACT, PATHS, POSITIVE, RATE, Range, TrainingSettings, read_object, setting
from models.errors import UserError

WEIGHT = Range(low=0)
MOST_GAMMA = 1e30
RECONSTRUCTORS = ("LeNet", "ResNet")


@dataclass(frozen=True, kw_only=True)
class WarpedGANSpaceSettings(TrainingSettings):
    num_support_sets: int = setting(128, PATHS, named=True)
    num_support_dipoles: int = setting(32, COUNT, named=True)
    learn_alphas: bool = setting(False, named=True)
    learn_gammas: bool = setting(False, named=True)
    gamma: float | None = setting(None, POSITIVE)  # none: one over the dimension of the space
    z_truncation: float | None = setting(None, POSITIVE)
    reconstructor_type: str = setting("ResNet", RECONSTRUCTORS, named=True)
    reconstructor_lr: float = setting(1e-4, RATE)
    min_shift_magnitude: float = setting(0.25, POSITIVE, named=True)
    max_shift_magnitude: float = setting(0.45, POSITIVE, named=True)
    shift_unit: str = setting(shifts.OWN, shifts.UNITS, named=True)
    lambda_cls: float = setting(1.0, WEIGHT)
    lambda_reg: float = setting(0.25, WEIGHT)
    # Only of runs whose shifts are shares of the radius: nothing else needs it.
    jung_radius: float | None = setting(None, POSITIVE, FACT)
    shortest_shift: float | None = setting(None, POSITIVE, FACT)
    longest_shift: float | None = setting(None, POSITIVE, FACT)


class WarpedGANSpace(Method):
    Settings = WarpedGANSpaceSettings

    @staticmethod
    def add_arguments(parser):
        g = parser.add_argument_group("warpedganspace")
        g.add_argument("-K", "--num-support-sets", type=number(int, PATHS), metavar="K", help="paths (default: 128)")
        g.add_argument("-D", "--num-support-dipoles", type=positive_int, metavar="N",
                       help="dipoles per path (default: 32)")
        g.add_argument("--learn-alphas", action="store_true", help="train the weights of the support vectors")
        g.add_argument("--learn-gammas", action="store_true", help="train the widths of the kernels")
        g.add_argument("-g", "--gamma", type=positive_float,
                       help="of all kernels when training begins (default: 1 / the dimension of the space)")
        g.add_argument("--z-truncation", type=positive_float, metavar="T",
                       help="draw each coordinate of z from [-T, T] (default: no bounds)")
        g.add_argument("--reconstructor-type", choices=RECONSTRUCTORS,
                       help="the network that tells the paths apart (default: ResNet)")
        g.add_argument("--reconstructor-lr", type=learning_rate, help="its learning rate (default: 0.0001)")
        g.add_argument("--lambda-cls", type=number(float, WEIGHT), metavar="W", help="weight of the path (default: 1)")
        g.add_argument("--lambda-reg", type=number(float, WEIGHT), metavar="W",
                       help="weight of the magnitude (default: 0.25)")

    @staticmethod
    def defaults(given, family):
        return {"lr": 1e-4, "max_iter": 100_000}

    @staticmethod
    def weights_file(settings):
        return "support_sets.pt"

    @staticmethod
    def check(settings):
        shifts.check(settings)
        if settings.batch_size < 2:
            raise UserError("--batch-size must be at least 2: the reconstructor normalises over the batch")

    @staticmethod
    def experiment_name(settings, gan, corpus, num_paths):
        """After the published create_exp_dir: WarpedGANSpace_<gan>-<space>-<reconstructor>-K<paths>-D<dipoles>
        (-LearnAlphas)(-LearnGammas)-eps<min>_<max>, where R follows shares of the Jung radius."""
        learnt = "-LearnAlphas" * settings.learn_alphas + "-LearnGammas" * settings.learn_gammas
        return (f"WarpedGANSpace_{gan}-{settings.space_name}-{settings.reconstructor_type}-K{settings.num_support_sets}"
                f"-D{settings.num_support_dipoles}{learnt}-{shifts.name_of(settings)}")

    @classmethod
    def find_labels(cls, settings):
        return _labels(settings.num_support_sets)

    @classmethod
    def space_of(cls, settings, space):
        from lib.methods.reconstructors import LEAST_PIXELS

        pixels = space.resolution or space.generator.resolution
        if settings.reconstructor_type == "LeNet" and pixels < LEAST_PIXELS:
            raise UserError(f"LeNet needs images of {LEAST_PIXELS} pixels, and these have {pixels}: use "
                            "--reconstructor-type=ResNet")
        return space

    def begin(self):
        from torch import nn

        from lib.draws import generator_for, seeded
        from lib.paths.support_sets import WeightedSupportSets

        settings, dim = self.settings, self.space.dim
        sets = WeightedSupportSets.random(
            len(self.labels), settings.num_support_dipoles, dim, settings.gamma or 1 / dim,
            generator_for(settings.seed, 2, 0), **self._learnt(),
        )  # fmt: skip
        with seeded(settings.seed, 3, 0):
            self.trained = nn.ModuleDict({"support_sets": sets, "reconstructor": self._reconstructor()})
        if settings.shift_unit == shifts.OWN:
            return {}
        return {"jung_radius": self.radius, **shifts.facts(*shifts.in_the_space(self))}

    def _learnt(self):
        return {"learn_alphas": self.settings.learn_alphas, "learn_gammas": self.settings.learn_gammas}

    def _reconstructor(self):
        from lib.methods import reconstructors

        return reconstructors.RECONSTRUCTORS[self.settings.reconstructor_type](len(self.labels))

    def restore(self, state, source):
        from torch import nn

        from lib.paths.support_sets import WeightedSupportSets

        parts = parts_of(state, source, "support_sets", "reconstructor")
        sets = WeightedSupportSets.from_state(parts["support_sets"], self.space.dim, source, **self._learnt())
        reconstructor = self._reconstructor()
        reconstructor.load_state_dict(tensors_of(parts["reconstructor"], reconstructor.state_dict(), source))
        self.trained = nn.ModuleDict({"support_sets": sets, "reconstructor": reconstructor}).to(self.space.device)

    def result(self):
        return self.paths.state_dict()

    def other_weights(self):
        return {"reconstructor.pt": self.trained["reconstructor"].state_dict()}

    @classmethod
    def load_paths(cls, state, space, source):
        from lib.paths.support_sets import WeightedSupportSets

        return WeightedSupportSets.from_state(state, space.dim, source).to(space.device)

    @property
    def paths(self):
        return self.trained["support_sets"]

    def draw(self, iteration):
        """z (B, z_dim), path indices (B,), signed magnitudes (B,), of which half are positive."""
        from lib.draws import draw
        from models.truncated_normal import truncated

        settings, z_dim = self.settings, self.space.generator.z_dim
        shift_range = shifts.in_the_space(self)
        z, *rest = draw(iteration, settings.batch_size, len(self.labels), z_dim, shift_range, settings.seed)
        return (z if settings.z_truncation is None else truncated(z, settings.z_truncation), *rest)

    def ends(self, batch):
        z, indices, magnitudes = batch
        codes = self.space.codes_of(z)
        directions = self.paths(self.space.positions(codes), indices)
        return [codes, self.space.shift(codes, magnitudes[:, None] * directions)]

    def loss(self, seen, ends, batch):
        import torch.nn.functional as F

        _, indices, magnitudes = batch
        logits, found = self.trained["reconstructor"](*seen)
        classification, regression = F.cross_entropy(logits, indices), (found - magnitudes).abs().mean()
        return self.settings.lambda_cls * classification + self.settings.lambda_reg * regression

    def optimizer(self):
        import torch

        settings = self.settings
        return torch.optim.Adam([
            {"params": self.paths.parameters()},
            {"params": self.trained["reconstructor"].parameters(), "rate": settings.reconstructor_lr / settings.lr},
        ], lr=settings.lr)  # fmt: skip

    @classmethod
    def read_published(cls, path):
        """An experiment of the published project, from its args.json and its last support sets."""
        content = read_object(path / "args.json") if (path / "args.json").is_file() else {}
        if "gan_type" not in content or "reconstructor_type" not in content:
            return None
        family = str(content["gan_type"])
        if family.startswith("SNGAN"):
            raise UserError(f"{path} is an experiment on {family[:20]}, a generator that is not read here")
        state, source = _published_support_sets(path)
        return Published(
            method="warpedganspace", source=source, state=_with_its_gamma(state, content), family=family,
            labels=_labels(len(state["SUPPORT_SETS"])),
            resolution=content.get("stylegan2_resolution") if family == "StyleGAN2" else None,
            spaces=("W",) if family == "StyleGAN2" and content.get("shift_in_w_space") is True else ("Z",),
            values={**content, "lr": content.get("support_set_lr")},
        )  # fmt: skip


def _labels(num_paths):
    return [f"path {k}" for k in range(num_paths)]


def _published_support_sets(path):
    """(state dict, file) of the last support sets of a published experiment."""
    from models.untrusted.tensor_files import load_tensors

    final, checkpoint = path / "models" / "support_sets.pt", path / "models" / "checkpoint.pt"
    source = final if final.is_file() else checkpoint
    if not source.is_file():
        raise UserError(f"{final} is missing: the experiment has no weights yet")
    state = load_tensors(source)
    state = state.get("support_sets") if source == checkpoint and isinstance(state, dict) else state
    if not isinstance(state, dict) or getattr(state.get("SUPPORT_SETS"), "ndim", 0) != 2:
        raise UserError(f"{source} holds no support sets: SUPPORT_SETS is not there")
    return state, source


def _with_its_gamma(state, content):
    """Where gammas were not trained, those that the command gave instead of the stored ones."""
    loggammas, alphas = state.get("LOGGAMMA"), state.get("ALPHAS")
    if content.get("learn_gammas") is not False or any(getattr(one, "ndim", 0) != 2 for one in (loggammas, alphas)):
        return state
    given, dim = content.get("gamma"), state["SUPPORT_SETS"].shape[1] / max(alphas.shape[1], 1)
    gamma = float(given) if type(given) in (int, float) and 0 < given < MOST_GAMMA else 1 / max(dim, 1)
    return {**state, "LOGGAMMA": loggammas.new_full(loggammas.shape, gamma).log()}
