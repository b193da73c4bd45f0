"""Training the path of a visitor's sentences further, by the trainer and the recipe of train.py, and keeping paths as
experiments that every command walks."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from lib.arguments import check_plain_name
from lib.experiment import Experiment
from lib.files import write_json
from lib.methods import find_method, name_of_run
from lib.methods.contraclip import ContraCLIPSettings
from lib.methods.own_sentences import Found
from lib.methods.paired import PairedContraCLIP
from lib.paths.lines import Lines
from lib.settings import TrainingSettings
from lib.training import trainer
from models.errors import UserError, quoted

CORPUS = "own"  # what an experiment's corpus is called that was typed in
INHERITED = ("gan", "gan_sha256", "stylegan_space", "stylegan_layer", "truncation", "biggan_target_classes",
             "clip_model", "synthesis_resolution", "seed")  # fmt: skip


@dataclass(frozen=True)
class OwnPath:
    """A path as it can be kept. found: of the sentences. direction (1, d). settings: `ContraCLIPSettings` of the method
    that it comes from, text or contraclip."""

    found: Found
    direction: torch.Tensor
    settings: ContraCLIPSettings
    stats: dict


class _FromStart(PairedContraCLIP):
    """Paired training that begins at a path that was found already."""

    def text_start(self, radius):
        return self.start


class _Scratch:
    """What the trainer takes for an experiment, in a directory that goes when the training is over."""

    begun = False

    def __init__(self, settings, labels, directory):
        self.settings, self.labels, self.directory = settings, labels, Path(directory)
        self.checkpoint = self.directory / "checkpoint.pt"
        self.initial_weights = self.directory / "paths_init.pt"

    def begin(self, state):
        """Nothing needs to be there to resume."""


class _Told(trainer.Watcher):
    """Tells a `Work` how the training goes."""

    def __init__(self, work, iterations):
        self.work, self.iterations, self.stats = work, iterations, {}

    def logged(self, iteration, stats):
        self.work.share, self.stats = iteration / self.iterations, stats
        self.work.doing = f"refining: iteration {iteration} of {self.iterations}"


def text_path(sentences, found):
    """The `OwnPath` of what `OwnSentences.find` found."""
    settings = replace(sentences.settings, corpus=CORPUS, walk_length=found.reach, jung_radius=sentences.radius,
                       clip_embed_dim=sentences.encoder.embed_dim)
    return OwnPath(found, found.start.directions, settings, {})


def refine(sentences, path, work):
    """Train a path further with the paired loss, for as many iterations and with as many pairs of codes in each as
    train.py takes. Returns its `OwnPath`; None where the work was stopped."""
    values = {name: getattr(sentences.settings, name) for name in INHERITED}
    defaults = ContraCLIPSettings.of(PairedContraCLIP.defaults({}, sentences.space.generator.family) | values)
    settings = replace(defaults, method="contraclip", corpus=CORPUS, log_freq=1, ckp_freq=10**9,
                       batch_size=PairedContraCLIP.batch_size(defaults, 1),
                       clip_embed_dim=sentences.encoder.embed_dim)
    method = _FromStart(settings, sentences.seen, [path.found.dipole])
    method.clip_encoder, method.start = sentences.encoder, path.found.start
    told = _Told(work, settings.max_iter)
    with tempfile.TemporaryDirectory(prefix="refining-") as directory:
        scratch = _Scratch(settings, [path.found.dipole], directory)
        trainer.prepare(scratch, method, automatic=True)
        if not trainer.train(scratch, method, work, [told], quiet=True):
            return None
    return OwnPath(path.found, method.result()["DIRECTIONS"].cpu(), scratch.settings, told.stats)


def check_name(name):
    """Raise UserError where a visitor's name for what is kept is empty, or not a plain name of a directory."""
    check_plain_name(name, f"{quoted(name)} is not a name for a directory")


def keep(paths, name):
    """Write `OwnPath`s, all of one space, as one finished experiment. name: what its name ends with. Its directory.

    Raises UserError where the name is not plain or taken, or where the paths are not of one space.
    """
    check_name(name)
    settings = next((one.settings for one in paths if one.settings.method != "text"), paths[0].settings)
    for one in paths:
        if any(getattr(one.settings, key) != getattr(settings, key) for key in INHERITED):
            raise UserError("these sliders are not of one space: keep them one by one")
    length = sum(one.settings.walk_length for one in paths) / len(paths)
    method = find_method(settings.method)
    settings = replace(settings, walk_length=length, exp_id=name, log_freq=TrainingSettings.log_freq,
                       ckp_freq=TrainingSettings.ckp_freq, batch_size=method.batch_size(
                           replace(settings, batch_size=None), len(paths)))
    labels = [one.found.dipole for one in paths]
    experiment = Experiment(name_of_run(settings, len(paths)), settings, labels, method.weights_file(settings))
    if experiment.begun:
        raise UserError(f"{experiment.directory} is there already: choose another name")
    state, start = (_state(parts) for parts in zip(*((one.direction, one.found.start.directions) for one in paths)))
    with experiment.claimed():
        experiment.begin(start)
        write_json(paths[0].stats if len(paths) == 1 else {}, experiment.directory / "stats.json")
        experiment.finish(state, {})
    return experiment.directory


def _state(directions):
    return Lines(torch.cat(directions)).state_dict()
