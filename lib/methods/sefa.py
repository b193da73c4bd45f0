"""SeFa (Shen & Zhou 2021): the directions that change most what layers make of a code, from their weights alone.

    A    the weights by which a code enters the layers, one below the other, each row of unit length
    the directions: eigenvectors of A^T A with the largest eigenvalues (equation 6)

In StyleGAN2 a code is w, and enters all layers by their styles; in the other generators it is z.
"""

from dataclasses import dataclass

from lib.arguments import number
from lib.methods.dipole_paths import usual_codes
from lib.methods.method import Method
from lib.settings import FACT, PATHS, Each, Range, TrainingSettings, setting
from models.errors import UserError


@dataclass(frozen=True, kw_only=True)
class SeFaSettings(TrainingSettings):
    num_directions: int = setting(32, PATHS)
    sefa_layers: list | None = setting(None, Each(low=0), named=True)  # noqa: RUF009
    eigenvalues: list | None = setting(None, Each(), FACT)  # noqa: RUF009


class SeFa(Method):
    Settings = SeFaSettings
    unused = (
        "lr", "batch_size", "max_iter", "precision", "compile", "tensorboard", "micro_batch_size",
        "synthesis_resolution",
    )  # fmt: skip
    spaces = ("W", "Z")

    @staticmethod
    def add_arguments(parser):
        g = parser.add_argument_group("sefa")
        g.add_argument("--sefa-layers", type=number(int, Range(low=0)), nargs="+", metavar="L",
                       help="layers whose weights count; in W, paths move these layers only (default: all)")

    @staticmethod
    def defaults(given, family):
        return usual_codes(family) | {"max_iter": 0}

    @staticmethod
    def experiment_name(settings, gan, corpus, num_paths):
        """SeFa_<gan>-<space>-K<directions>, then -layers<L>_<L>.. where they are chosen."""
        layers = "" if settings.sefa_layers is None else "-layers" + "_".join(map(str, settings.sefa_layers))
        return f"SeFa_{gan}-{settings.stylegan_space}-K{num_paths}{layers}"

    @classmethod
    def find_labels(cls, settings):
        return [f"direction {k}" for k in range(settings.num_directions)]

    @classmethod
    def space_of(cls, settings, space):
        from lib.latent_space import feed_layers
        from lib.methods.eigenvectors import check_count

        check_count(settings.num_directions, space.dim)
        generator, layers = space.generator, settings.sefa_layers
        if not hasattr(generator, "entry_weights"):
            raise UserError(f"SeFa reads the weights of a generator's layers, and a {generator.family.name} does not "
                            "say which they are: choose another --method")
        if space.name == "Z" and "W" in generator.family.spaces:
            raise UserError(f"SeFa's directions of a {generator.family.name} are in W: use --stylegan-space=W")
        last = len(generator.entry_weights()) - 1
        if layers is not None and max(layers) > last:
            raise UserError(f"--sefa-layers is {' '.join(map(str, layers))}, and this generator's layers are 0 to "
                            f"{last}")
        if layers is not None and space.name == "W":
            feed_layers(space, layers)
        return space

    def begin(self):
        from lib.methods.eigenvectors import leading_eigenvectors
        from lib.paths.lines import Lines

        weights, layers = self.space.generator.entry_weights(), self.settings.sefa_layers
        chosen = [weights[i] for i in (range(len(weights)) if layers is None else sorted({*layers}))]
        values, directions = leading_eigenvectors(gram(chosen).cpu(), len(self.labels))
        self.trained = Lines(directions.float())
        return {"eigenvalues": values.tolist()}


def gram(weights):
    """A^T A (d, d) of weights (N, d), whose rows are brought to unit length; rows of zeros stay."""
    import torch
    import torch.nn.functional as F

    rows = F.normalize(torch.cat([*weights]).double(), dim=1)
    return rows.T @ rows
