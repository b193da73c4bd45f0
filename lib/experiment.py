"""An experiment's directory: its name, what lies in it, and its way from experiments/wip to experiments/complete.

    args.json       the settings of the run, and what was measured or read when it began (FACTS)
    command.sh      the command that started it
    stats.json      {iteration: {"loss": mean since the entry before, "lr": learning rate}}
    models/
        semantic_dipoles.json           [["pole A", "pole B"], ...]
        latent_support_sets_init.pt     the paths before training
        checkpoint.pt                   everything that a resumed run needs
        latent_support_sets.pt          the paths, once training has ended
"""

import fcntl
import shlex
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

from lib.config import COMPLETE, CORPORA, WIP
from lib.dipoles import load_corpus
from lib.files import check_generator, differences, read_json, save_tensors, write_json, write_text
from models.errors import UserError
from models.registry import generator_kind

# Settings that may differ when a run is resumed: they change where and how often it saves, not what it computes.
FREE_SETTINGS = {"cuda", "ops", "ckp_freq", "micro_batch_size", "compile"}
# Settings that are as the first start had them where a later one does not say.
KEPT_SETTINGS = {"precision"}
LONGEST_NAME = 255  # bytes, on common file systems
# What args.json has besides settings.
FACTS = {"jung_radius", "clip_embed_dim"}


def idea(args):
    """Which of `objectives.IDEAS` the flags choose."""
    return "styleclip" if args.styleclip else "linear" if args.linear else "nonlinear"


def experiment_name(args, num_paths, gan, corpus):
    """The directory's name, after the published README.

    ContraCLIP_<gan>-<space>-K<paths>-D<dipoles>-eps<min>_<max>-<idea>_beta-<beta>-<loss>-<corpus>(-<exp id>), where W+
    and S are followed by their last moved layer and contrastive by _<temperature>.
    """
    space = args.stylegan_space + (str(args.stylegan_layer) if args.stylegan_space in ("W+", "S") else "")
    loss = f"contrastive_{args.temperature}" if args.loss == "contrastive" else args.loss
    name = (
        f"ContraCLIP_{gan}-{space}-K{num_paths}-D{args.num_latent_support_dipoles}"
        f"-eps{args.min_shift_magnitude}_{args.max_shift_magnitude}-{idea(args)}_beta-{args.css_beta}-{loss}-{corpus}"
    )
    return f"{name}-{args.exp_id}" if args.exp_id else name


class Experiment:
    """The directory of one experiment, under its name; nothing is written before it is `claimed`."""

    def __init__(self, name, settings, dipoles):
        """settings: {flag: value}, as they go into args.json. dipoles: pairs of sentences.

        Raises UserError where a run of this name has others.
        """
        self.name, self.settings, self.facts = name, dict(settings), {}
        self.dipoles = [list(poles) for poles in dipoles]
        if len(name.encode()) > LONGEST_NAME:
            raise UserError(f"the experiment's name would be {name!r}, too long for a directory: shorten --exp-id")
        self._check_settings()
        self._check_dipoles()

    @property
    def complete(self):
        return (COMPLETE / self.name / "args.json").is_file()

    @property
    def directory(self):
        return (COMPLETE if self.complete else WIP) / self.name

    @property
    def models(self):
        return self.directory / "models"

    @property
    def checkpoint(self):
        return self.models / "checkpoint.pt"

    def _check_settings(self):
        file = self.directory / "args.json"
        if not file.is_file():
            return
        before = read_json(file)
        if not isinstance(before, dict):
            raise UserError(f"{file} holds no arguments: remove {self.directory} to begin anew")
        self.settings |= {key: before.get(key) for key in KEPT_SETTINGS if self.settings.get(key) is None}
        compared = check_generator(before, self.settings, self.directory)
        differing = differences(before, self.settings, FREE_SETTINGS | FACTS | compared)
        if differing:
            raise UserError(f"{self.directory} has other arguments ({differing}): repeat those, or set --exp-id")

    def _check_dipoles(self):
        """A corpus' file may have been edited since."""
        file = self.models / "semantic_dipoles.json"
        before = read_json(file) if file.is_file() else self.dipoles
        if before != self.dipoles:
            new = next((poles for poles in self.dipoles if poles not in before), self.dipoles[0])
            raise UserError(f"{self.directory} has other sentences than the corpus has now ({new[0]!r} to {new[1]!r} "
                            f"stands elsewhere or not at all in {file}): restore the corpus, or set --exp-id")

    def establish(self, **facts):
        """What the run rests on besides its settings. Raises UserError where it began with something else.

        It is written with the settings when the run begins; runs that began before a fact was kept are not held to it.
        """
        file = self.directory / "args.json"
        before = read_json(file) if file.is_file() else {}
        differing = differences(before, facts, before.keys() ^ facts.keys())
        if differing:
            raise UserError(f"{self.directory} began otherwise ({differing}): give the same files, or set --exp-id")
        self.facts |= facts

    @contextmanager
    def claimed(self):
        """The directory, made where it is not there, with every other process kept out of it.

        Raises UserError where another process has it. Leaves no directory behind if it has no checkpoint yet.
        """
        directory = WIP / self.name
        directory.mkdir(parents=True, exist_ok=True)
        with open(directory / ".lock", "a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UserError(f"another process is training {directory}: wait for it, or set --exp-id") from None
            try:
                if self.complete:
                    raise UserError(f"{COMPLETE / self.name} was completed by another process just now")
                for stale in directory.rglob(".*.partial"):  # left by a process that was killed
                    stale.unlink()
                yield
            finally:
                if directory.exists() and not self.checkpoint.exists():
                    shutil.rmtree(directory)

    def begin(self, facts):
        """Write what stays the same throughout the run."""
        write_json(self.dipoles, self.models / "semantic_dipoles.json")
        write_text("#!/usr/bin/env bash\n" + shlex.join(["python", *sys.argv]) + "\n", self.directory / "command.sh")
        write_json(self.settings | self.facts | facts, self.directory / "args.json")

    def finish(self, support_sets):
        """Save the trained paths, and move the directory to experiments/complete in one step."""
        save_tensors(support_sets.state_dict(), self.models / "latent_support_sets.pt")
        COMPLETE.mkdir(parents=True, exist_ok=True)
        (WIP / self.name / ".lock").unlink(missing_ok=True)
        (WIP / self.name).rename(COMPLETE / self.name)


def open_trained(directory):
    """What a trained, or training, experiment says of itself: (args, dipoles, file of its support sets).

    Experiments of the authors' are taken as any version of their code left them: `args` has `gan`, `stylegan_space`,
    `stylegan_layer` and `truncation` all the same. Raises UserError where it is no experiment or has no weights.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise UserError(f"{directory} is no directory: --exp is an experiment's, as under {COMPLETE}")
    args = _completed(read_json(directory / "args.json"), directory / "args.json")
    return args, _dipoles(directory, args), _weights(directory)


def _completed(args, file):
    """The content of an args.json, with what older ones lack, or say in another way, of the paths' space."""
    gan = args.get("gan", args.get("gan_type")) if isinstance(args, dict) else None
    if not isinstance(gan, str):
        raise UserError(f"{file} names no generator (gan): it is no experiment's")
    space, layer, truncation = (args.get(key) for key in ("stylegan_space", "stylegan_layer", "truncation"))
    if generator_kind(gan) == "ProgGAN":  # theirs may say otherwise, and did not heed it
        space, truncation = "Z", 1.0
    settings = {
        "gan": gan,
        "stylegan_space": "Z" if space is None else space,
        "stylegan_layer": layer,
        "truncation": 1.0 if truncation is None else truncation,
    }
    for key, right in (
        ("stylegan_space", settings["stylegan_space"] in ("Z", "W", "W+", "S")),
        ("stylegan_layer", layer is None or (type(layer) is int and layer >= 0)),
        ("truncation", type(settings["truncation"]) in (int, float) and 0 < settings["truncation"] <= 1),
    ):
        if not right:
            raise UserError(f"{file} has {key} {settings[key]!r}, which cannot be: it is no experiment's")
    return args | settings


def _dipoles(directory, args):
    """The pairs of sentences, from the experiment's own list, or where it has none, by its corpus' name."""
    file = directory / "models" / "semantic_dipoles.json"
    if not file.is_file() and isinstance(args.get("corpus"), str) and args["corpus"] in CORPORA:
        return load_corpus(args["corpus"])
    dipoles = read_json(file)
    if not isinstance(dipoles, list) or not all(_is_dipole(poles) for poles in dipoles):
        raise UserError(f"{file} is no list of pairs of sentences")
    return [tuple(poles) for poles in dipoles]


def _is_dipole(poles):
    return isinstance(poles, list) and len(poles) == 2 and all(isinstance(pole, str) for pole in poles)


def _weights(directory):
    """The file of the trained support sets; the authors' code also leaves latent_support_sets-<iteration>.pt."""
    weights = directory / "models" / "latent_support_sets.pt"
    if weights.is_file():
        return weights
    earlier = sorted(weights.parent.glob("latent_support_sets-*.pt"), key=lambda file: (len(file.name), file.name))
    if not earlier:
        raise UserError(f"{weights} is missing: the experiment has not ended, run its command.sh again")
    return earlier[-1]
