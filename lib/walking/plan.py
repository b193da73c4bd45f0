"""What is walked: which of an experiment's paths, from which codes, and how far."""

from dataclasses import dataclass
from pathlib import Path

from lib import pools
from lib.paths.choice import ChosenPaths, chosen_paths
from lib.paths.paths import Paths
from lib.settings import WalkSettings
from lib.trained import Trained
from lib.walking.sampling import sample_like
from models.errors import UserError
from models.files import sha256
from models.load_generator import generator_name


@dataclass(frozen=True)
class Plan:
    """paths: those that are walked, whose numbers in the experiment are settings.paths. sources: the directories of the
    pool's codes. shift: of a single edit in place of a walk; None: a walk."""

    experiment: Trained
    paths: Paths
    pool: Path
    sources: list[Path]
    settings: WalkSettings
    shift: float | None

    @property
    def results(self):
        """The directory that holds everything made from this pool."""
        return self.experiment.directory / "results" / self.pool.name

    @property
    def numbers(self):
        """The paths' numbers in the experiment."""
        return range(self.paths.num_paths) if self.settings.paths is None else self.settings.paths

    @property
    def furthest(self):
        """How far from a code the paths go, in units of the space."""
        return abs(self.shift or self.settings.shift_steps * self.settings.eps)


def plan_walk(experiment, given, new_pool):
    """The `Plan` of the flags of traverse_latent_space.py. experiment: a `Trained`. new_pool: how many random codes are
    walked from if no pool is named.

    Raises UserError where the experiment has no such paths, and where the pool's codes do not fit.
    """
    numbers = None if given.paths is None else chosen_paths(given.paths, experiment.labels)
    paths = experiment.paths if numbers is None else ChosenPaths(experiment.paths, numbers)
    found = {
        "eps": experiment.length(given.eps or experiment.step(given.shift_steps)), "paths": numbers, "film": True,
        "weights_sha256": sha256(experiment.weights),
    }  # fmt: skip
    settings = WalkSettings.of(vars(given) | found)
    if settings.w_space and given.pool is None:
        raise UserError("--w-space needs --pool: a pool with W+ codes")
    if settings.w_space and experiment.space.name == "Z":
        raise UserError(f"the paths of {experiment.directory} are in Z, and --w-space needs paths in W, W+ or S: leave "
                        "it out")
    pool = _find_pool(given.pool, experiment, new_pool)
    sources = pools.code_directories(pool)
    pools.read_code(sources[0], experiment.space, settings.w_space)  # refuses codes that do not fit
    return Plan(experiment, paths, pool, sources, settings, experiment.length(given.shift))


def _find_pool(name, experiment, new_pool):
    """The directory of the pool with that name, or of one that is sampled now."""
    settings = experiment.settings
    if name is None:
        return sample_like(settings, experiment.generator, new_pool)
    return pools.find_pool(name, generator_name(settings.gan), settings.gan_sha256)
