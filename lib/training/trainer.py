"""The training loop: draw, step, log, checkpoint, until the end or until the user asks it to stop.

What iteration i draws depends on (seed, i) alone: a resumed run equals one that was never stopped.
"""

import copy
import math
from contextlib import nullcontext
from dataclasses import replace

import torch
from tqdm import tqdm

from lib import distributed
from lib.files import save_tensors, write_json
from lib.status import doing
from lib.training.checkpoints import fitting, read_checkpoint, restore
from lib.training.frozen import FrozenHalf
from lib.training.memory import GIB, Meter, fitting_micro_batch_size, out_of_memory
from lib.training.step import gradient_of_ends, step, to_device
from models.errors import UserError
from models.untrusted.tensor_files import load_tensors

SUFFICIENT_COSINE = 0.999  # of a gradient to that in float32


class Run:
    """The state of a training run: what a checkpoint holds."""

    def __init__(self, method):
        self.trained = method.trained
        self.optimizer = method.optimizer()
        self.iteration = 0
        self.stats = {}  # {iteration: {"loss", "spread", "lr", "peak_gib"}}
        self.losses = []  # since the last entry of stats

    def save(self, path):
        """Write a checkpoint, in the first process. Raises UserError if the weights are not finite, and leaves the last
        checkpoint as it is."""
        if not all(parameter.isfinite().all() for parameter in self.trained.parameters()):
            raise UserError(_not_finite("the trained weights are", self.iteration, path))
        state = {
            "iteration": self.iteration,
            "support_sets": self.trained.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "stats": self.stats,
            "losses": self.losses,
        }
        if distributed.is_first():
            save_tensors(state, path)

    def load(self, path, max_iter):
        """Go on from a checkpoint. Raises UserError if it is not one of a run like this."""
        state = distributed.from_first(lambda: read_checkpoint(path, max_iter))
        restore(state, self.trained, self.optimizer, path)
        self.iteration, self.stats, self.losses = state["iteration"], state["stats"], state["losses"]


def train(experiment, method, stop, watchers=(), quiet=False):
    """Train a method until `max_iter` or until `stop` is requested, from the experiment's checkpoint if there is one.

    experiment: claimed, with the settings of the run. method: a `lib.methods.method.Method` whose `trained` is made.
    stop: a `StopRequest`, checked between two iterations. watchers: `Watcher`s that are told, in the first process, how
    it goes. quiet: no bar on stderr. Returns whether the end was reached. Raises UserError if the loss, a gradient or a
    weight is not finite, and if the GPU's memory is too small.
    """
    settings, run = experiment.settings, Run(method)
    if distributed.from_first(experiment.checkpoint.exists):
        run.load(experiment.checkpoint, settings.max_iter)
        if run.iteration:  # as when the checkpoint was written, which is written again at the end
            _set_learning_rate(run, method, run.iteration - 1)
    watchers = watchers if distributed.is_first() else ()
    for watcher in watchers:
        watcher.begun(run.iteration, run.stats)
    frozen, first = FrozenHalf(method.see, settings.precision, settings.compile), run.iteration
    with _bar(run, settings, quiet) as bar:
        while run.iteration < settings.max_iter and not stop.requested():
            if not _has_memory_for(lambda: iterate(run, method, frozen, experiment)):
                raise UserError(out_of_memory(method, settings))
            bar.update() if run.iteration > first + 1 else _begin_to_count(bar)
            if run.iteration % settings.log_freq == 0 or run.iteration == settings.max_iter:
                log(run, bar, method.space.device)
                for watcher in watchers:
                    watcher.logged(run.iteration, run.stats)
            if run.iteration % settings.ckp_freq == 0:
                checkpoint(run, experiment)
                for watcher in watchers:
                    watcher.saved(run.iteration, run.stats)
    checkpoint(run, experiment)
    for watcher in watchers:
        watcher.ended(run.iteration, run.stats)
    return run.iteration == settings.max_iter


class Watcher:
    """What a command hands to `train` to be told how the run goes. stats: {iteration: entry}, of which the last one may
    be of an earlier iteration."""

    def begun(self, iteration, stats):
        """Before the first iteration of this process."""

    def logged(self, iteration, stats):
        """Another entry of the statistics is there."""

    def saved(self, iteration, stats):
        """A checkpoint has been written."""

    def ended(self, iteration, stats):
        """The last checkpoint has been written."""


def _has_memory_for(iteration):
    """Whether the GPU's memory is enough for iteration(), which is run. What it held is released on return, when the
    exception and its frames are gone."""
    try:
        iteration()
    except torch.OutOfMemoryError:
        return False
    return True


def _bar(run, settings, quiet):
    what = "training" if not settings.compile else "compiling, then training"
    return tqdm(initial=run.iteration, total=settings.max_iter, desc=what, unit="it", dynamic_ncols=True,
                disable=quiet or not distributed.is_first() or run.iteration >= settings.max_iter)


def _begin_to_count(bar):
    """Count the first iteration of this process, which warms up or compiles, without its time: the rate and the time
    left are of those after it."""
    if bar.disable:
        return
    bar.desc = "training: "
    bar.n += 1
    bar.initial = bar.last_print_n = bar.n
    bar.unpause()
    bar.start_t = bar.last_print_t
    bar.refresh()


def iterate(run, method, frozen, experiment):
    """One iteration: draw, step, optimise."""
    _set_learning_rate(run, method, run.iteration)
    run.optimizer.zero_grad()
    batch = to_device(method.draw(run.iteration), method.space.device)
    value = step(method, batch, frozen, experiment.settings.micro_batch_size)
    if not math.isfinite(value):
        raise UserError(_not_finite("the loss is", run.iteration, experiment.checkpoint))
    gradients = (parameter.grad for parameter in method.trained.parameters() if parameter.grad is not None)
    if not all(gradient.isfinite().all() for gradient in gradients):
        raise UserError(_not_finite("the gradient is", run.iteration, experiment.checkpoint))
    run.optimizer.step()
    method.updated(run.iteration)
    run.iteration += 1
    run.losses.append(value)


def _set_learning_rate(run, method, iteration):
    rate = method.learning_rate(iteration)
    for group in run.optimizer.param_groups:
        group["lr"] = rate * group.get("rate", 1)


def log(run, bar, device):
    """An entry of the statistics: the mean loss since the last one and its standard deviation, the learning rate, and
    the most memory that this process has used since it began to train."""
    mean = sum(run.losses) / len(run.losses)
    spread = math.sqrt(sum((loss - mean) ** 2 for loss in run.losses) / len(run.losses))
    rate, peak = run.optimizer.param_groups[0]["lr"], round(Meter(device).peak() / GIB, 3)
    run.stats[run.iteration] = {"loss": mean, "spread": spread, "lr": rate, "peak_gib": peak}
    bar.set_postfix(loss=f"{mean:.4f}±{spread:.4f}", memory=f"{peak:.2f}GiB", refresh=False)
    run.losses = []


def checkpoint(run, experiment):
    """Save the run, and the statistics up to it."""
    run.save(experiment.checkpoint)
    if distributed.is_first():
        write_json(run.stats, experiment.directory / "stats.json")


def _not_finite(what, iteration, checkpoint):
    kept = f"the last good checkpoint is {checkpoint}" if checkpoint.exists() else "no checkpoint has been written yet"
    advice = "try a lower --lr, a higher --temperature or another --precision, with another --exp-id"
    return f"{what} not finite at iteration {iteration + 1}; {kept}: {advice}"


def prepare(experiment, method, automatic=False):
    """Make the trained weights, either new or as they were when the experiment first began, and decide the precision.
    For a new run, write both to its directory.

    automatic: whether a run whose batch does not fit into memory takes the micro-batch size that does. Raises
    UserError, naming what would fit, where it does not and nothing is chosen.
    """

    def initial():
        if experiment.begun:
            return load_tensors(experiment.initial_weights), {}
        facts = method.begin()
        return {name: _as_read(value) for name, value in method.trained.state_dict().items()}, facts

    def measure_memory():
        with doing("measuring the memory that an iteration needs"):
            size = fitting_micro_batch_size(method, experiment.settings, automatic)
        experiment.settings = replace(experiment.settings, micro_batch_size=size)

    is_new = distributed.from_first(lambda: not experiment.begun)
    trains = experiment.settings.max_iter > 0
    is_measured = is_new and trains and method.begin_roughly()
    if is_measured:
        measure_memory()
    state, facts = distributed.from_first(initial)
    with nullcontext() if is_new else fitting(experiment.initial_weights):
        method.restore(state, experiment.initial_weights)
        if method.paths.num_paths != len(experiment.labels):
            raise UserError(f"{experiment.initial_weights} has {method.paths.num_paths} paths, and this run has "
                            f"{len(experiment.labels)}: remove its directory to begin anew")
    if trains and not is_measured:
        measure_memory()
    if experiment.settings.precision is None:
        with doing("measuring which precision keeps the gradient"):
            facts["precision"] = default_precision(method, experiment.settings.micro_batch_size) if trains else "fp32"
    experiment.settings = replace(experiment.settings, **facts)
    if is_new and distributed.is_first():
        experiment.begin(state)


def _as_read(value):
    """A value of a state dict, as a file gives it back: how a tensor lies in memory decides the last bits of what is
    computed with it. A module's extra state need not be a tensor."""
    return value.contiguous() if isinstance(value, torch.Tensor) else value


def gradient_cosine(first, second):
    """The cosine of two gradients, tensors of the same shape, as vectors."""
    return torch.cosine_similarity(first.flatten().double(), second.flatten().double(), dim=0).item()


def default_precision(method, micro_batch_size=None):
    """The fastest of bf16, tf32 and fp32 whose gradient has a cosine above 0.999 to that in float32.

    On a GPU this is measured, with the first batch and the weights before training. On the CPU it is fp32: bfloat16
    does not reach that cosine there, and is not faster without hardware support.
    """
    device = method.space.device
    if device.type != "cuda":
        return "fp32"
    before = copy.deepcopy(method.trained.state_dict())  # statistics of batch norm change with each pass
    batch = to_device(method.draw(0), device)
    ends = method.ends(batch)

    def gradient(precision):
        _, found = gradient_of_ends(method, batch, ends, FrozenHalf(method.see, precision), micro_batch_size)
        return torch.cat([one.flatten() for one in found])

    exact = gradient("fp32")
    fast = (name for name in ("bf16", "tf32") if gradient_cosine(gradient(name), exact) > SUFFICIENT_COSINE)
    found = next(fast, "fp32")
    method.trained.load_state_dict(before)
    return found
