"""LatentCLR (Yüksel et al. 2021): directions, each of which changes the generator's features in a way of its own.

    z ~ N(0, I) -> codes -> features h0 of one layer
    codes + alpha * direction_k(codes), for all k -> features h
    of the changes h - h0, those by one direction are to be alike, those by others not
"""

import re
from dataclasses import dataclass, fields

from lib.arguments import number
from lib.methods.method import Method, parts_of, tensors_of
from lib.methods.published import Published
from lib.settings import PATHS, POSITIVE, Each, Range, TrainingSettings, setting
from models.errors import UserError

MODELS = ("global", "linear", "nonlinear")
PROJECTORS = ("identity", "linear", "nonlinear")
SIMILARITIES = ("anchored", "absolute", "signed")
STATISTICS = ("together", "apart")
SEVERAL, NOT_NEGATIVE = Range(low=2, high=PATHS.high), Range(low=0)
DEPTH, WIDTH = Range(low=1, high=32), Range(low=1, high=4096)  # of networks
MOST_NUMBERS = 10**9  # of all directions' networks
ANY = Range()
MILESTONES, DECAY = (1000, 5000), 0.2  # the learning rate is multiplied at these iterations
CHECKPOINTS = ("best_model.pt", "final_model.pt", "most_recent.pt")


@dataclass(frozen=True, kw_only=True)
class LatentCLRSettings(TrainingSettings):
    num_directions: int = setting(32, SEVERAL, named=True)
    direction_model: str = setting("global", MODELS, named=True)
    direction_depth: int = setting(3, DEPTH, named=True)
    unnormalised: bool = setting(False)
    alpha: float = setting(0.1, ANY, named=True)
    alpha_range: list | None = setting(None, Each(), named=True)  # noqa: RUF009
    feature_layer: str = setting("layer0", named=True)
    feed_layers: list | None = setting(None, Each(low=0), named=True)  # noqa: RUF009
    projector: str = setting("identity", PROJECTORS, named=True)
    projector_depth: int = setting(3, DEPTH)
    projector_width: int = setting(64, WIDTH)
    projector_features: int = setting(32, WIDTH)
    projector_statistics: str = setting("together", STATISTICS)
    similarity: str = setting("anchored", SIMILARITIES)
    temperature: float = setting(0.5, POSITIVE)
    weight_decay: float = setting(1e-3, NOT_NEGATIVE)

    @property
    def layers(self):
        """How many layers each direction's network has, where it is one."""
        return self.direction_depth if self.direction_model == "nonlinear" else 1


class LatentCLR(Method):
    Settings = LatentCLRSettings

    @staticmethod
    def add_arguments(parser):
        g = parser.add_argument_group("latentclr: directions")
        g.add_argument("--direction-model", choices=MODELS,
                       help="one vector for all codes, or an affine map or a network that gives one for each "
                            "(default: global)")
        g.add_argument("--direction-depth", type=number(int, DEPTH), metavar="D",
                       help="layers of a network (default: 3)")
        g.add_argument("--unnormalised", action="store_true",
                       help="edit by the vectors as they are, not by their directions")
        alpha = g.add_mutually_exclusive_group()
        alpha.add_argument("--alpha", type=number(float), help="length of each edit (default: 0.1)")
        alpha.add_argument("--alpha-range", type=number(float), nargs=2, metavar=("LOW", "HIGH"),
                           help="draw the length: one for each direction and iteration (global: one for all)")
        g = parser.add_argument_group("latentclr: features and loss")
        g.add_argument("--feature-layer", metavar="LAYER",
                       help="layer<i>, or output<i> for the image so far; conv1, convs.<i>, to_rgb1, to_rgbs.<i> and "
                            "generator.layers.<i> mean the same; of a generator of your own, only output0, the image "
                           "(default: layer0)")
        g.add_argument("--projector", choices=PROJECTORS, help="what features pass before the loss (default: identity)")
        g.add_argument("--projector-depth", type=number(int, DEPTH), metavar="D",
                       help="layers, nonlinear (default: 3)")
        g.add_argument("--projector-width", type=number(int, WIDTH), metavar="F",
                       help="between them (default: 64)")
        g.add_argument("--projector-features", type=number(int, WIDTH), metavar="F",
                       help="behind them (default: 32)")
        g.add_argument("--projector-statistics", choices=STATISTICS,
                       help="its batch norm sees all edits together or, as published, each direction apart, which "
                            "removes what its edits have in common (default: together)")
        g.add_argument("--similarity", choices=SIMILARITIES,
                       help="anchored: a direction must not do the opposite to another code; absolute: as published, "
                            "it may; signed: other directions may be opposites (default: anchored)")
        g.add_argument("--weight-decay", type=number(float, NOT_NEGATIVE), help="of Adam (default: 0.001)")

    @staticmethod
    def weights_file(settings):
        return "directions.pt"

    @staticmethod
    def check(settings):
        if settings.num_directions < 2:
            raise UserError("--num-directions must be at least 2: directions are compared with each other")
        low, high = settings.alpha_range or (settings.alpha, settings.alpha)
        if low > high:
            raise UserError(f"--alpha-range {low} {high} is empty: give the lower end first")
        if low == high == 0:
            raise UserError("an edit by --alpha 0 changes nothing: give another length")
        if settings.batch_size < 2:
            raise UserError("--batch-size must be at least 2: a direction's edits of two codes are compared")
        if settings.direction_model != "nonlinear":
            _check_unset(settings, "direction_depth", needed="--direction-model=nonlinear")
        if settings.projector == "identity":
            _check_unset(settings, "projector_features", needed="--projector=linear or nonlinear")
        if settings.projector != "nonlinear":
            _check_unset(settings, "projector_depth", "projector_width", needed="--projector=nonlinear")

    @staticmethod
    def experiment_name(settings, gan, corpus, num_paths):
        """LatentCLR_<gan>-<space>-<model>-K<directions>-<layer>-alpha<alpha>, where a network's depth follows the model
        unless it is 3, and fed layers and a projector are appended where there are any."""
        is_deep = settings.direction_model == "nonlinear" and settings.direction_depth != 3
        model = settings.direction_model + (f"{settings.direction_depth}" if is_deep else "")
        alpha = "_".join(map(str, settings.alpha_range or [settings.alpha]))
        fed = "" if settings.feed_layers is None else "-feed" + "_".join(map(str, settings.feed_layers))
        projector = "" if settings.projector == "identity" else f"-{settings.projector}_projector"
        layer = layer_named(settings.feature_layer)
        return (f"LatentCLR_{gan}-{settings.space_name}-{model}-K{settings.num_directions}-{layer}-alpha{alpha}{fed}"
                f"{projector}")

    @classmethod
    def find_labels(cls, settings):
        return _labels(settings.num_directions)

    @classmethod
    def space_of(cls, settings, space):
        from lib.latent_space import feed_layers

        numbers = settings.num_directions * settings.layers * space.dim**2
        if settings.direction_model != "global" and numbers > MOST_NUMBERS:
            raise UserError(f"networks of {settings.num_directions} directions in {space.dim} dimensions have "
                            f"{numbers:,} numbers: ask for fewer directions, or for --direction-model=global")
        layer, known = layer_named(settings.feature_layer), space.generator.feature_layers
        if layer not in known:
            raise UserError(f"--feature-layer {settings.feature_layer} is not a layer of this generator, whose layers "
                            f"are {', '.join(known)}")
        if settings.feed_layers is not None:
            feed_layers(space, settings.feed_layers)
            if layer != known[-1] and min(settings.feed_layers) > driven_by(layer):
                raise UserError(f"--feed-layers {' '.join(map(str, settings.feed_layers))} lie behind --feature-layer "
                                f"{settings.feature_layer}, which no edit would reach")
        return space

    def begin(self):
        from torch import nn

        from lib.draws import seeded
        from lib.paths.networks import GlobalDirections, NetworkDirections

        settings, sizes = self.settings, (len(self.labels), self.space.dim)
        with seeded(settings.seed, 2, 0):
            if settings.direction_model == "global":
                model = GlobalDirections(*sizes)
            else:
                model = NetworkDirections(*sizes, settings.layers)
            self.trained = nn.ModuleDict({"model": model, "projector": self._projector()})
        return {}

    def _projector(self):
        import torch

        from lib.methods.contrast import Projector

        settings, in_features = self.settings, 0
        if settings.projector != "identity":
            with torch.no_grad():
                z = torch.zeros(1, self.space.generator.z_dim, device=self.space.device)
                in_features = self.see(self.space.codes_of(z), None).numel()
        return Projector(settings.projector, in_features, settings.projector_width, settings.projector_features,
                         settings.projector_depth)

    def restore(self, state, source):
        from torch import nn

        from lib.paths.networks import directions_from_state

        parts, projector = parts_of(state, source, "model", "projector"), self._projector()
        projector.load_state_dict(tensors_of(parts["projector"], projector.state_dict(), source))
        model = directions_from_state(parts["model"], self.space.dim, source)
        self.trained = nn.ModuleDict({"model": model, "projector": projector}).to(self.space.device)

    def result(self):
        return self.paths.state_dict()

    def other_weights(self):
        return {"projector.pt": self.trained["projector"].state_dict()}

    @classmethod
    def load_paths(cls, state, space, source):
        from lib.paths.networks import directions_from_state

        return directions_from_state(state, space.dim, source).eval().to(space.device)

    @property
    def paths(self):
        return self.trained["model"]

    def draw(self, iteration):
        """z (N, z_dim), and the edits' lengths: (1,), or (K,) where each direction draws one."""
        import torch

        from lib.draws import codes_of, generator_for

        settings = self.settings
        z = codes_of(iteration, settings.batch_size, self.space.generator.z_dim, settings.seed)
        if settings.alpha_range is None:
            return z, torch.tensor([float(settings.alpha)])
        low, high = settings.alpha_range
        count = 1 if settings.direction_model == "global" else len(self.labels)
        return z, low + (high - low) * torch.rand(count, generator=generator_for(settings.seed, 1, iteration))

    def ends(self, batch):
        """The codes (N, ...), and all edits of all of them, direction by direction (K N, ...)."""
        from lib.paths.fields import unit

        z, alphas = batch
        codes = self.space.codes_of(z)
        vectors = self.paths.vectors(self.space.positions(codes))
        offsets = alphas[:, None, None] * (vectors if self.settings.unnormalised else unit(vectors))
        repeated = codes.repeat(len(vectors), *[1] * (codes.ndim - 1))
        return [codes, self.space.shift(repeated, offsets.flatten(0, 1))]

    def see(self, codes, batch):
        return self.space.features(codes, layer_named(self.settings.feature_layer))

    def loss(self, seen, ends, batch):
        from lib.methods import contrast

        settings = self.settings
        changes = contrast.rows(self.trained["projector"], *seen, settings.projector_statistics == "together")
        return -contrast.log_ratios(changes, len(self.labels), settings.temperature, settings.similarity).mean()

    def optimizer(self):
        import torch

        settings = self.settings
        return torch.optim.Adam(self.trained.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)

    def learning_rate(self, iteration):
        return self.settings.lr * DECAY ** sum(iteration >= milestone for milestone in MILESTONES)

    @classmethod
    def read_published(cls, path):
        """A checkpoint of the published project, or the best one of a directory. It says neither generator nor space;
        in its StyleGAN2 the paths run in W unless its configuration was changed."""
        from models.untrusted.tensor_files import load_tensors

        if path.is_dir():
            kept = [path / name for name in CHECKPOINTS if (path / name).is_file()]
            if not kept or (path / "args.json").is_file():
                return None
            path = kept[0]
        elif path.suffix != ".pt":
            return None
        content = load_tensors(path)
        model = content.get("model") if isinstance(content, dict) else None
        if not isinstance(model, dict) or "projector" not in content:
            return None
        kind, count = _described(model)
        return Published(method="latentclr", source=path, state=model, labels=_labels(count), spaces=("W", "Z"),
                         values={"direction_model": kind, "num_directions": count})  # fmt: skip


def layer_named(name):
    """Our name of a generator's layer, for those of rosinality's StyleGAN2 and of pytorch-pretrained-biggan. The whole
    name counts: in the published code convs.10 stops at convs.1, and to_rgbs.<i> gives the convolution before it."""
    if name in ("conv1", "to_rgb1"):
        return {"conv1": "layer0", "to_rgb1": "output0"}[name]
    found = re.fullmatch(r"(convs|to_rgbs|generator\.layers)\.(\d+)", name)
    if not found:
        return name
    kind, index = found[1], int(found[2])
    return {"convs": f"layer{index + 1}", "to_rgbs": f"output{index + 1}"}.get(kind, f"layer{index}")


def driven_by(layer):
    """The index of the W+ layer that drives a layer of StyleGAN2."""
    index = int(re.sub(r"\D", "", layer))
    return 2 * index + 1 if layer.startswith("output") else index


def _check_unset(settings, *names, needed):
    """Raise UserError where a setting is not its default, though nothing uses it without other flags."""
    defaults = {one.name: one.default for one in fields(settings)}
    for name in names:
        if getattr(settings, name) != defaults[name]:
            raise UserError(f"--{name.replace('_', '-')} is not used without {needed}")


def _labels(count):
    return [f"direction {k}" for k in range(count)]


def _described(model):
    """(kind, number) of the directions in a published state dict; what does not fit is found when they are built."""
    if "params" in model:
        return "global", len(model["params"]) if getattr(model["params"], "ndim", 0) else 0
    nets = {str(key).split(".")[1] for key in model if str(key).startswith("nets.")}
    return ("nonlinear" if "nets.0.linear_2.weight" in model else "linear"), len(nets)
