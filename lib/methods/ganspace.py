"""GANSpace (Härkönen et al. 2020): principal components of what codes, or a layer's activations, are.

    w    codes of random z. Paths: the leading eigenvectors v_k of their covariance (section 2.2)
    y    activations of a layer (--ganspace-layer), x = V^T (y - mean) their leading components.
         Paths: u_k of the regression of codes on these, min sum |U x - z|^2 (equation 3; section 2.3)

The first is for W, W+ and S; the second for Z too, whose codes have no principal components of their own. All paths are
of unit length. The published code shifts by multiples of sigma_k, the standard deviation of codes along path k: it is
stored, as `deviations`.
"""

from dataclasses import dataclass

from lib.methods.dipole_paths import usual_codes
from lib.methods.method import Method
from lib.settings import COUNT, FACT, PATHS, Each, TrainingSettings, setting
from models.errors import UserError

SAMPLES, LAYER_SAMPLES = 100_000, 10_000


@dataclass(frozen=True, kw_only=True)
class GANSpaceSettings(TrainingSettings):
    num_directions: int = setting(32, PATHS)
    ganspace_layer: str | None = setting(None, named=True)
    ganspace_samples: int = setting(SAMPLES, COUNT)
    feed_layers: list | None = setting(None, Each(low=0), named=True)  # noqa: RUF009
    deviations: list | None = setting(None, Each(low=0), FACT)  # noqa: RUF009
    variance_shares: list | None = setting(None, Each(low=0), FACT)  # noqa: RUF009


class GANSpace(Method):
    Settings = GANSpaceSettings
    unused = ("lr", "batch_size", "max_iter", "precision", "compile", "tensorboard", "synthesis_resolution")
    spaces = ("W", "W+", "S", "Z")

    @staticmethod
    def add_arguments(parser):
        from lib.arguments import positive_int

        g = parser.add_argument_group("ganspace")
        g.add_argument("--ganspace-layer", metavar="LAYER",
                       help="layer<i>: components of this layer's activations, to which codes are regressed; needed in "
                            "Z (default: components of the codes)")
        g.add_argument("--ganspace-samples", type=positive_int, metavar="N",
                       help=f"codes (default: {SAMPLES}; {LAYER_SAMPLES} with --ganspace-layer)")

    @staticmethod
    def defaults(given, family):
        samples = LAYER_SAMPLES if "ganspace_layer" in given else SAMPLES
        return usual_codes(family) | {"max_iter": 0, "ganspace_samples": samples}

    @staticmethod
    def check(settings):
        if settings.stylegan_space == "Z" and settings.ganspace_layer is None:
            raise UserError("codes of Z have no principal components: name a layer with --ganspace-layer, or use "
                            "--stylegan-space=W")
        if settings.ganspace_samples <= settings.num_directions:
            raise UserError(f"--ganspace-samples {settings.ganspace_samples} are too few for --num-directions "
                            f"{settings.num_directions}: raise it")

    @staticmethod
    def experiment_name(settings, gan, corpus, num_paths):
        """GANSpace_<gan>-<space>-K<directions>, then -<layer> and -feed<L>_<L>.. where there are any."""
        layer = "" if settings.ganspace_layer is None else f"-{settings.ganspace_layer}"
        fed = "" if settings.feed_layers is None else "-feed" + "_".join(map(str, settings.feed_layers))
        return f"GANSpace_{gan}-{settings.space_name}-K{num_paths}{layer}{fed}"

    @classmethod
    def find_labels(cls, settings):
        return [f"component {k}" for k in range(settings.num_directions)]

    @classmethod
    def space_of(cls, settings, space):
        from lib.latent_space import feed_layers
        from lib.methods.eigenvectors import check_count

        check_count(settings.num_directions, space.dim)
        layer, known = settings.ganspace_layer, space.generator.feature_layers
        if layer is not None and layer not in known:
            raise UserError(f"--ganspace-layer {layer} is not a layer of this generator, whose layers are "
                            f"{', '.join(known)}")
        if settings.feed_layers is not None:
            feed_layers(space, settings.feed_layers)
        return space

    def begin(self):
        from lib.methods.components import components_of_codes, components_of_layer
        from lib.paths.lines import Lines

        settings, count = self.settings, len(self.labels)
        samples = settings.ganspace_samples, settings.seed
        if settings.ganspace_layer is None:
            found = components_of_codes(self.space, count, *samples)
        else:
            at_once = settings.micro_batch_size
            found = components_of_layer(self.space, settings.ganspace_layer, count, *samples, at_once)
        self.trained = Lines(found.directions)
        return {"deviations": found.deviations.tolist(), "variance_shares": found.shares.tolist()}
