"""Which runs a comparison consists of, and in which order: an interrupted one has the most important rows already.

For each world in turn:

    1. each contender with its published hyperparameters, one seed
    2. contender by contender, those without iterations first, its other settings, one seed, measured on the tuning
       codes alone, and then the best of all on the fresh codes
    3. both with the other seeds

and then, for each world, the best settings with less and more processor time.
"""

from dataclasses import dataclass

from scripts.compare.contenders import CONTENDERS
from scripts.compare.worlds import WORLDS

PUBLISHED = "published"
FACTORS = (0.5, 2, 4)  # of the budget, for the curves of leak against training time


@dataclass(frozen=True)
class Run:
    """A contender's setting, trained with one seed in `factor` times the budget."""

    world: str
    contender: str
    setting: str = PUBLISHED
    seed: int = 0
    factor: float = 1

    @property
    def key(self):
        more = "" if self.factor == 1 else f"-x{self.factor:g}"
        return f"{self.world}/{self.contender}/{self.setting}-seed{self.seed}{more}"

    @property
    def flags(self):
        return settings_in(self.world, self.contender)[self.setting]


@dataclass(frozen=True)
class Step:
    """Something to be done: train a run unless it is trained, and measure it on the tuning codes, or on both."""

    run: Run
    report: bool


def contenders_in(world, names=tuple(CONTENDERS)):
    """Those contenders that run in a world, in the table's order."""
    return [name for name in names if WORLDS[world].has_w or CONTENDERS[name].in_z]


def settings_in(world, contender):
    """{name: flags} of what is tried for a contender in a world."""
    return CONTENDERS[contender].settings(in_z=not WORLDS[world].has_w)


def best_setting(results, world, contender):
    """The setting with the lowest score on the tuning codes, the published one where all of them fail; None while one
    has not been measured."""
    scores = {}
    for setting in settings_in(world, contender):
        result = results.get(Run(world, contender, setting).key)
        if result is None or ("tuning" not in result and "failed" not in result):
            return None
        if "tuning" in result:
            scores[setting] = result["tuning"]["score"]
    return min(scores, key=scores.get, default=PUBLISHED)


def steps(results, worlds, names, seeds, factors=FACTORS):
    """The steps of a comparison in their order, as far as they are known from the results so far.

    Yields None in the place of a step that depends on results that are not there yet.
    """
    for world in worlds:
        here = contenders_in(world, names)
        chosen = {name: best_setting(results, world, name) for name in here}
        for name in here:
            yield Step(Run(world, name, seed=seeds[0]), report=True)
        for name in sorted(here, key=lambda name: not CONTENDERS[name].closed_form):
            for setting in settings_in(world, name):
                yield Step(Run(world, name, setting), report=False)
            yield chosen[name] and Step(Run(world, name, chosen[name], seeds[0]), report=True)
        for seed in seeds[1:]:
            for name in here:
                if CONTENDERS[name].one_seed:
                    continue
                for setting in dict.fromkeys((chosen[name], PUBLISHED)):
                    yield setting and Step(Run(world, name, setting, seed), report=True)
    for factor in factors:
        for world in worlds:
            for name in contenders_in(world, names):
                if CONTENDERS[name].closed_form or CONTENDERS[name].per_code:
                    continue
                setting = best_setting(results, world, name)
                yield setting and Step(Run(world, name, setting, seeds[0], factor), report=True)
