"""What a trained run's paths change, by the code of evaluate.py, on codes that tuned and on fresh ones."""

import hashlib
import json
import shutil
from dataclasses import asdict

import numpy as np
import torch

from lib import pools
from lib.dipoles import load_corpus
from lib.evaluation.evaluation import Subject, read
from lib.evaluation.reading import Reader
from lib.evaluation.samples import COUNT, read_samples
from lib.evaluation.scale import Scale
from lib.evaluation.store import Store
from lib.evaluation.summary import sum_up
from lib.evaluation.walks import Walk
from lib.judges import load_judge
from lib.latent_space import latent_space
from lib.settings import WalkSettings
from lib.trained import open_experiment
from models.errors import UserError
from models.files import sha256
from models.load_generator import generator_file
from scripts.compare import walked
from scripts.compare.contenders import CONTENDERS
from scripts.compare.worlds import WORLDS

WALK = WalkSettings(shift_steps=15, eps=1 / 15)  # a path's end is at 1
READ = 3  # of these steps, in either direction; the reach, which lies between them, is read besides
REPORTED = ("own_effect", "right_way", "reach", "leak", "stray", "bend", "identity", "kid", "monotonicity")


class Measure:
    """One world's judge, sentences and codes."""

    def __init__(self, world, samples=COUNT):
        self.world, self.samples = WORLDS[world], samples
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.labels = [tuple(label) for label in load_corpus(self.world.corpus)]
        self.judge = load_judge(self.world.judge, labels=tuple(self.labels), device=self.device)
        owns = self.judge.own(self.labels)
        for dipole, name in self.world.own.items():
            number, sign = name.removeprefix("-"), -1 if name.startswith("-") else 1
            if number not in self.judge.names:
                raise UserError(f"the judge {self.world.judge} lacks the number {number}: {self.judge.note}")
            owns[dipole] = self.judge.names.index(number), sign
        self.dipoles = [n for n, own in enumerate(owns) if own is not None]  # those that the judge can tell
        self.asked = [self.labels[n] for n in self.dipoles]
        self.owns = [owns[n] for n in self.dipoles]

    def _scale(self, space, gan_sha256):
        """The judge's units, by what the generator shows without truncation, as evaluate.py has them."""
        whole = space
        if not self.judge.scaled and space.truncation != 1:
            whole = latent_space(space.generator, classes=space.classes)
        found = read_samples(whole, gan_sha256, Reader(whole, self.judge), self.samples)
        return Scale.of_samples(self.judge, found.numbers)

    def tuning(self, contender, directory, sources):
        """A run's paths on the tuning codes in the directories `sources`: {"score", "candidates", ..}, see `walked`."""
        trained = open_experiment(directory, self.world.gan, self.device)
        gan_sha256 = sha256(generator_file(self.world.gan))
        scale = self._scale(trained.space, getattr(trained.generator, "sha256", gan_sha256))
        owns = [(scale.index(number), sign) for number, sign in self.owns]
        codes = torch.cat([pools.read_code(source, trained.space) for source in sources])
        arguments = trained.space, trained.paths, codes, self.judge, scale, owns
        if CONTENDERS[contender].reads_corpus:
            by_numbers = CONTENDERS[contender].reads_numbers and self.world.numbers
            found = walked.each_its_own(*arguments, range(len(owns)) if by_numbers else self.dipoles)
        else:
            found = walked.match(*arguments)
        return {
            "score": float(np.mean([one.leak for one in found])),
            "stray": float(np.mean([one.stray for one in found])),
            "own_effect": float(np.mean([one.own_effect for one in found])),
            "reached": sum(one.reached for one in found),
            "candidates": [asdict(one) for one in found],
        }

    def report(self, key, directory, candidates, pool, sources, home):
        """The figures of a run on fresh codes: {"mean": {figure: {"value", "low", "high"}}, "paths": [..], ..}.

        candidates: what `tuning` found. home: a place for what is read on the way.
        """
        trained = open_experiment(directory, self.world.gan, self.device)
        paths = walked.chosen_paths(trained.paths, candidates).to(self.device)
        gan_sha256 = sha256(generator_file(self.world.gan))
        origin = {"gan_sha256": getattr(trained.generator, "sha256", gan_sha256),
                  "paths": _hash([key, candidates, [sha256(file) for file in sorted(directory.glob("models/*.pt"))]])}
        walk = Walk(home, WALK)
        subject = Subject(key, pool, trained.space, paths, self.asked, sources, walk, origin)
        store = Store(home / "judged")
        try:
            own = dict(enumerate(self.owns))
            readings = read(subject, self.judge, store, READ, own=own, sample_count=self.samples)
            summary, _ = sum_up(subject, self.judge, self.world.judge, readings)
        finally:
            store.close()
        shutil.rmtree(home)
        return figures_of(summary)


def figures_of(summary):
    """What is kept of an evaluation's summary. Leak and stray count at most `walked.MOST_LEAK` in the means."""
    mean = {name: summary["mean"][name] for name in REPORTED if name in summary["mean"]}
    paths = [{"own": one["own"], "strongest_other": one["strongest_other"], "reached": one["reached"],
              **{name: one["figures"][name]["value"] for name in REPORTED if name in one["figures"]}}
             for one in summary["paths"]]
    for name in ("leak", "stray"):
        values = [walked.MOST_LEAK if path[name] is None else min(path[name], walked.MOST_LEAK) for path in paths]
        capped = any(path[name] is None or path[name] > walked.MOST_LEAK for path in paths)
        mean[name] = {"value": float(np.mean(values))} if capped else mean[name]
    return {"codes": summary["codes"], "counts": summary["counts"], "mean": mean, "paths": paths}


def _hash(content):
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
