"""An experiment's directory: its name, what lies in it, and its way from experiments/wip to experiments/complete.

    args.json       the settings of the run, with what was measured or read when it began
    command.sh      the command that started it
    stats.json      {iteration: {"loss": mean since the entry before, "lr": learning rate}}
    models/
        semantic_dipoles.json           [["pole A", "pole B"], ...]; labels.json where paths have names instead
        latent_support_sets_init.pt     the paths before training
        checkpoint.pt                   everything that a resumed run needs
        latent_support_sets.pt          the paths, once training has ended

The paths' files are called after their method's kind of weights; those of ContraCLIP stand above.
"""

import fcntl
import shlex
import shutil
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from lib.config import COMPLETE, WIP
from lib.files import check_generator, read_json, save_tensors, write_json, write_text
from lib.settings import read_object
from models.errors import UserError

LONGEST_NAME = 255  # bytes, on common file systems


class Experiment:
    """The directory of one experiment, under its name; nothing is written before it is `claimed`."""

    def __init__(self, name, settings, labels, weights):
        """settings: the run's. labels: one for each path, a pair of sentences or a name. weights: the file of its
        trained paths.

        Raises UserError where a run of this name has other settings or labels.
        """
        self.name, self.settings, self.weights = name, settings, weights
        self.labels = [label if isinstance(label, str) else list(label) for label in labels]
        if len(name.encode()) > LONGEST_NAME:
            raise UserError(f"the experiment's name would be {name!r}, too long for a directory: shorten --exp-id")
        self._check_settings()
        self._check_labels()

    @property
    def complete(self):
        return (COMPLETE / self.name / "args.json").is_file()

    @property
    def begun(self):
        return (self.directory / "args.json").is_file()

    @property
    def directory(self):
        return (COMPLETE if self.complete else WIP) / self.name

    @property
    def models(self):
        return self.directory / "models"

    @property
    def checkpoint(self):
        return self.models / "checkpoint.pt"

    @property
    def initial_weights(self):
        return self.models / f"{Path(self.weights).stem}_init.pt"

    def _check_settings(self):
        file = self.directory / "args.json"
        if not file.is_file():
            return
        before = type(self.settings).read(read_object(file), file)
        self.settings = self.settings.kept_from(before)
        compared = check_generator(before, self.settings, self.directory)
        differing = before.differences(self.settings, ignored=compared)
        if differing:
            raise UserError(f"{self.directory} has other arguments ({differing}): repeat those, or set --exp-id")

    def _check_labels(self):
        """A corpus' file may have been edited since."""
        file = self.models / labels_file(self.labels)
        before = read_json(file) if file.is_file() else self.labels
        if before != self.labels:
            new = next((label for label in self.labels if label not in before), self.labels[0])
            shown = repr(new) if isinstance(new, str) else f"{new[0]!r} to {new[1]!r}"
            raise UserError(f"{self.directory} has other sentences than the corpus has now ({shown} stands elsewhere "
                            f"or not at all in {file}): restore the corpus, or set --exp-id")

    def establish(self, **facts):
        """What the run rests on besides its flags. Raises UserError where it began with something else.

        It is written with the settings when the run begins; runs that began before a fact was kept are not held to it.
        """
        self.settings = replace(self.settings, **facts)
        file = self.directory / "args.json"
        if file.is_file():
            differing = type(self.settings).read(read_object(file), file).differences(self.settings)
            if differing:
                raise UserError(f"{self.directory} began otherwise ({differing}): give the same files, or set --exp-id")

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

    def begin(self, state):
        """Write what stays the same throughout the run. state: of the paths before training."""
        save_tensors(state, self.initial_weights)
        write_json(self.labels, self.models / labels_file(self.labels))
        write_text("#!/usr/bin/env bash\n" + shlex.join(["python", *sys.argv]) + "\n", self.directory / "command.sh")
        write_json(self.settings.to_json(), self.directory / "args.json")

    def finish(self, state):
        """Save the trained paths, and move the directory to experiments/complete in one step."""
        save_tensors(state, self.models / self.weights)
        COMPLETE.mkdir(parents=True, exist_ok=True)
        (WIP / self.name / ".lock").unlink(missing_ok=True)
        (WIP / self.name).rename(COMPLETE / self.name)


def labels_file(labels):
    """The name of the file that paths' labels are written to."""
    return "labels.json" if labels and isinstance(labels[0], str) else "semantic_dipoles.json"


def begun_with(arguments):
    """The directory of the unfinished run that this very argument list began, or None."""
    for file in sorted(WIP.glob("*/command.sh")):
        if (file.parent / "args.json").is_file() and _arguments_in(file) == list(arguments):
            return file.parent
    return None


def _arguments_in(file):
    """The arguments in a command.sh, behind `python` and the script; None where it is damaged."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        return shlex.split(lines[1])[2:]
    except (OSError, ValueError, IndexError):
        return None
