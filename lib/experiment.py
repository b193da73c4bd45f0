"""An experiment's directory: its name, its files, and its way from experiments/wip to experiments/complete.

    args.json       the settings of the run, including what was measured or read when it began
    command.sh      the command that started it
    stats.json      {iteration: {"loss": mean since the entry before, "spread": its standard deviation, "lr": learning
                    rate, "peak_gib": the most memory so far}}; in earlier versions "loss" and "lr" alone
    progress.html, progress/            the loss curve, and pictures along one path
    tensorboard/                        the statistics, with --tensorboard
    models/
        semantic_dipoles.json           [["pole A", "pole B"], ...]; labels.json where paths have names instead
        latent_support_sets_init.pt     the paths before training
        checkpoint.pt                   everything that a resumed run needs
        latent_support_sets.pt          the paths, once training has ended

The files of the paths are named after `weights` of their method; those above are ContraCLIP's.
"""

import fcntl
import shlex
import sys
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from lib.config import COMPLETE, WIP
from lib.files import check_generator, read_json, save_tensors, write_json, write_text
from lib.settings import read_object
from models import directories
from models.errors import UserError, quoted
from models.untrusted.tensor_files import load_tensors

LONGEST_NAME = 255  # bytes, on common file systems


class Experiment:
    """The directory of one experiment. Nothing is written before it is `claimed`."""

    def __init__(self, name, settings, labels, weights):
        """settings: the run's. labels: one for each path, a pair of sentences or a name. weights: the name of the file
        of its trained paths.

        Raises UserError if a run with this name has other settings or labels.
        """
        self.name, self.settings, self.weights = name, settings, weights
        self.prolonged_from = None  # the iterations of a finished run that goes on
        self.labels = [label if isinstance(label, str) else list(label) for label in labels]
        if len(name.encode()) > LONGEST_NAME:
            raise UserError(f"the experiment's name would be {quoted(name)}, too long for a directory: shorten "
                            "--exp-id or the names of the files")
        self._check_settings()
        self._check_labels()

    @property
    def complete(self):
        return self._is_finished() and self.prolonged_from is None

    @property
    def begun(self):
        """Whether there is something to resume. A run that was killed before its first checkpoint begins anew."""
        return self._is_finished() or (self.checkpoint.is_file() and (self.directory / "args.json").is_file())

    @property
    def directory(self):
        return (COMPLETE if self._is_finished() else WIP) / self.name

    def _is_finished(self):
        return (COMPLETE / self.name / "args.json").is_file()

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
        if not self.begun:
            return
        file = self.directory / "args.json"
        before = type(self.settings).read(read_object(file), file)
        self.settings = self.settings.kept_from(before)
        compared = check_generator(before, self.settings, self.directory)
        if self._can_go_on(before):
            self.prolonged_from, compared = before.max_iter, {*compared, "max_iter"}
        differing = before.differences(self.settings, ignored=compared)
        if not differing and self.prolonged_from is not None:
            self.settings = self.settings.with_facts_of(before)
        if differing:
            raise UserError(f"{self.directory} has other arguments ({differing}): repeat those, or set --exp-id")

    def _can_go_on(self, before):
        """Whether this is a longer run than one that has ended, which then goes on from there. before: its settings.

        Raises UserError if it has no checkpoint.
        """
        if self.settings.max_iter <= before.max_iter:
            return False
        if not self.checkpoint.is_file():
            raise UserError(f"{self.directory} has no checkpoint from which it could go on: set --exp-id")
        state = load_tensors(self.checkpoint)
        return isinstance(state, dict) and state.get("iteration") == before.max_iter

    def _check_labels(self):
        """The file of the corpus may have been edited since the run began."""
        if not self.begun:
            return
        file = self.models / labels_file(self.labels)
        before = read_json(file) if file.is_file() else self.labels
        if not isinstance(before, list):
            raise UserError(f"{file} is not a list of the paths' labels: it was damaged or edited")
        if before != self.labels:
            new = next((label for label in self.labels if label not in before), self.labels[0])
            shown = quoted(new) if isinstance(new, str) else f"{quoted(new[0])} to {quoted(new[1])}"
            raise UserError(f"{self.directory} has other sentences than the corpus has now ({shown} is elsewhere in "
                            f"{file}, or not in it): restore the corpus, or set --exp-id")

    def establish(self, **facts):
        """Add facts that the run depends on besides its flags. Raises UserError if it began with other ones.

        They are written with the settings when the run begins. A run that began before a fact was stored is not checked
        for it.
        """
        self.settings = replace(self.settings, **facts)
        file = self.directory / "args.json"
        if self.begun:
            before = type(self.settings).read(read_object(file), file)
            differing = before.differences(self.settings, ignored=() if self.prolonged_from is None else ("max_iter",))
            if differing:
                raise UserError(f"{self.directory} began differently ({differing}): give the same files, or set "
                                "--exp-id")

    @contextmanager
    def claimed(self):
        """Create the directory if it does not exist, and keep all other processes out of it.

        Raises UserError if another process is in it, and if there is a symbolic link in the place of a directory. At
        the end, a directory without a checkpoint is removed.
        """
        directory = WIP / self.name
        models = directory / "models"
        directories.hold(WIP, make=True)
        if self.prolonged_from is not None:
            self._reopen()
        directories.hold(directory, make=True)
        try:
            with self._locked():
                if self.complete:
                    raise UserError(f"{COMPLETE / self.name} was completed by another process just now")
                directories.remove_partial(directory)  # left behind by a process that was killed
                if self.prolonged_from is not None:
                    self._write_settings()
                elif not self.checkpoint.exists():
                    directories.remove(models)  # of a run that was killed before it got anywhere
                directories.hold(models, make=True)
                try:
                    yield
                finally:
                    if directories.is_still_there(directory) and not self.checkpoint.exists():
                        directories.remove(directory)
        finally:
            for held in (models, directory, WIP):
                directories.release(held)

    @contextmanager
    def _locked(self):
        """Hold the lock of the directory. Raises UserError if another process does."""
        directory = WIP / self.name
        with open(directory / ".lock", "a", opener=directories.opener) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(f"another process is training {directory}: wait for it, or set --exp-id") from None
            yield

    def _reopen(self):
        """Move a finished run back to experiments/wip. If another process does so too, the lock there decides."""
        directories.hold(COMPLETE)
        try:
            with suppress(FileNotFoundError), directories.opened(COMPLETE / self.name):
                directories.move(COMPLETE / self.name, WIP / self.name)
        finally:
            directories.release(COMPLETE)

    def begin(self, state):
        """Write what stays the same throughout the run. state: the state dict of the paths before training."""
        save_tensors(state, self.initial_weights)
        write_json(self.labels, self.models / labels_file(self.labels))
        self._write_settings()

    def _write_settings(self):
        write_text("#!/usr/bin/env bash\n" + shlex.join(["python", *sys.argv]) + "\n", self.directory / "command.sh")
        write_json(self.settings.to_json(), self.directory / "args.json")

    def finish(self, state, others):
        """Save the trained paths and {file name: content} of others, and move the directory to experiments/complete in
        one step."""
        for name, content in (others | {self.weights: state}).items():
            save_tensors(content, self.models / name)
        directories.make(COMPLETE)
        directories.remove(WIP / self.name / ".lock")
        directories.move(WIP / self.name, COMPLETE / self.name)


def labels_file(labels):
    """The name of the file that holds the labels of the paths."""
    return "labels.json" if labels and isinstance(labels[0], str) else "semantic_dipoles.json"


def begun_with(arguments):
    """The directory of the unfinished run that was started with exactly these arguments, or None."""
    for file in sorted(WIP.glob("*/command.sh")):
        resumable = all((file.parent / part).is_file() for part in ("args.json", "models/checkpoint.pt"))
        if resumable and _arguments_in(file) == list(arguments):
            return file.parent
    return None


def _arguments_in(file):
    """The arguments in a command.sh, after `python` and the script; None if it is damaged."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        return shlex.split(lines[1])[2:]
    except (OSError, ValueError, IndexError):
        return None
