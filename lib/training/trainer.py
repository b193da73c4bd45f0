"""One training step, and the loop round it.

    z ~ N(0, I) -> codes -> images -> CLIP -> f0                    no gradient
    codes + shift * support_sets(codes, k) -> images -> CLIP -> f1
    objective(f0, f1, dipole k, shift) -> gradient, to the support sets alone

What iteration i draws depends on (seed, i) alone: a resumed run equals one that was never stopped.
"""

import math

import torch
from tqdm import tqdm

from lib import distributed
from lib.files import save_tensors, write_json
from lib.latent_space import jung_radius
from lib.methods import objectives
from lib.paths.support_sets import LatentSupportSets
from lib.training.frozen import ImageFeatures
from models.errors import UserError
from models.untrusted.tensor_files import load_tensors

CHECKPOINT_KEYS = {"iteration", "support_sets", "optimizer", "stats", "losses"}
SUFFICIENT_COSINE = 0.999  # of a gradient to float32's
DECAY_AFTER = 0.9  # of all iterations; then the learning rate is a tenth


def generator_for(seed, stream, index):
    """A random generator of its own for each (seed, stream, index)."""
    generator = torch.Generator()
    # Torch reads the lowest 32 bits of a seed: the indices of one stream never meet, and streams start far apart.
    return generator.manual_seed((seed * 1_000_003 + stream) * 1_000_000_007 + index & (2**63 - 1))


def paths_of(iteration, batch_size, num_paths, seed):
    """Path indices (B,) of an iteration: all items of a run, in order, take one random permutation of the paths after
    another, so that each path is drawn equally often."""
    items = range(iteration * batch_size, (iteration + 1) * batch_size)
    rounds = {item // num_paths for item in items}
    orders = {r: torch.randperm(num_paths, generator=generator_for(seed, 1, r)) for r in rounds}
    return torch.stack([orders[item // num_paths][item % num_paths] for item in items])


def draw(iteration, batch_size, num_paths, z_dim, shift_range, seed):
    """What an iteration works on: z (B, z_dim), path indices (B,), signed shifts (B,), uniform in +-[min, max]."""
    generator = generator_for(seed, 0, iteration)
    z = torch.randn(batch_size, z_dim, generator=generator)
    low, high = shift_range
    magnitudes = low + (high - low) * torch.rand(batch_size, generator=generator)
    signs = 2 * torch.randint(2, (batch_size,), generator=generator) - 1
    return z, paths_of(iteration, batch_size, num_paths, seed), signs * magnitudes


def gradient_cosine(first, second):
    """How alike two gradients (tensors of one shape) are, as vectors."""
    return torch.cosine_similarity(first.flatten().double(), second.flatten().double(), dim=0).item()


def default_precision(space, clip_encoder, corpus_support_sets, batch, objective, micro_batch_size=None):
    """The fastest of bf16, tf32, fp32 whose gradient keeps a cosine above 0.999 to float32's.

    On a GPU that is measured, at a batch whose codes are shifted in random directions. On the CPU it is fp32: bfloat16
    misses that cosine there too, and is no faster without hardware for it.
    """
    z, indices, shifts = batch
    if z.device.type != "cuda":
        return "fp32"
    codes = space.codes_of(z)
    directions = torch.randn(len(z), space.dim, generator=generator_for(0, 3, 0)).to(z.device)
    offsets = shifts[:, None] * directions / directions.norm(dim=1, keepdim=True)
    settings = indices, shifts, objective, micro_batch_size

    def gradient(precision):
        features = ImageFeatures(space, clip_encoder, precision)
        return offset_gradient(features, corpus_support_sets, codes, offsets, *settings)[1]

    exact = gradient("fp32")
    fast = (name for name in ("bf16", "tf32") if gradient_cosine(gradient(name), exact) > SUFFICIENT_COSINE)
    return next(fast, "fp32")


def step(features, support_sets, corpus_support_sets, batch, objective, micro_batch_size=None):
    """Add the gradient of one batch' loss to the support sets', and to nothing else's; returns the loss (a float).

    features: an `ImageFeatures`. batch: (z, indices, shifts). objective: (idea, loss, temperature).
    """
    z, indices, shifts = batch
    with torch.no_grad():
        codes = features.space.codes_of(z)
    offsets = shifts[:, None] * support_sets(features.space.positions(codes), indices)
    value, gradient = offset_gradient(
        features, corpus_support_sets, codes, offsets.detach(), indices, shifts, objective, micro_batch_size
    )
    offsets.backward(gradient)
    return value


def offset_gradient(features, corpus_support_sets, codes, offsets, indices, shifts, objective, micro_batch_size=None):
    """The loss of codes that move by offsets (B, dim), a float, and its gradient with respect to these: (B, dim).

    Each process makes the images of its share of the batch, and the loss is taken of all features. With a micro-batch
    size M the networks see M images at a time, without a graph; once the loss' gradient with respect to the features is
    known, each part is made again with a graph of its own, down which that gradient is sent. Either way the gradient is
    that of the whole batch in one pass.
    """
    total, own, space = len(codes), distributed.rows(len(codes)), features.space
    idea, kind, temperature = objective
    codes, offsets = codes[own], offsets[own].detach()
    size = micro_batch_size or len(codes)
    at_once = size >= len(codes)
    parts = [(part, moved.requires_grad_()) for part, moved in zip(codes.split(size), offsets.split(size))]
    with torch.no_grad():
        plain = distributed.gather(torch.cat([features(part) for part, _ in parts]), total)
    with torch.set_grad_enabled(at_once):
        shifted = [features(space.shift(part, moved)) for part, moved in parts]
    found = distributed.gather(torch.cat(shifted), total).requires_grad_()
    with torch.no_grad():
        targets = objectives.text_targets(idea, corpus_support_sets, plain, indices, shifts)
    moves = objectives.image_moves(idea, plain, found)
    loss = objectives.loss(kind, moves, targets, indices, shifts, temperature)
    (gradient,) = torch.autograd.grad(loss, found)
    gradients = []
    for (part, moved), ends, pull in zip(parts, shifted, gradient[own].split(size)):
        ends = ends if at_once else features(space.shift(part, moved))
        gradients.append(features.gradient(ends, moved, pull))
    return loss.item(), distributed.gather(torch.cat(gradients), total)


class Run:
    """The state of a training run: what a checkpoint holds."""

    def __init__(self, support_sets, lr):
        self.support_sets = support_sets
        self.optimizer = torch.optim.Adam(support_sets.parameters(), lr=lr)
        self.iteration = 0
        self.stats = {}  # {iteration: {"loss", "lr"}}
        self.losses = []  # since the last entry of stats

    def save(self, path):
        """Write a checkpoint, the first process does; refuses weights that are not finite: the last good one stays."""
        if not all(parameter.isfinite().all() for parameter in self.support_sets.parameters()):
            raise UserError(_not_finite("the support sets are", self.iteration, path))
        state = {
            "iteration": self.iteration,
            "support_sets": self.support_sets.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "stats": self.stats,
            "losses": self.losses,
        }
        if distributed.is_first():
            save_tensors(state, path)

    def load(self, path):
        state = distributed.from_first(lambda: load_tensors(path))
        if not isinstance(state, dict) or not CHECKPOINT_KEYS <= state.keys():
            raise UserError(f"{path} is no checkpoint: remove it to begin anew")
        self.support_sets.load_state_dict(state["support_sets"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.iteration, self.stats, self.losses = state["iteration"], state["stats"], state["losses"]


def _not_finite(what, iteration, checkpoint):
    kept = f"the last good checkpoint is {checkpoint}" if checkpoint.exists() else "no checkpoint was written yet"
    advice = "try a lower --lr, a higher --temperature or another --precision, with another --exp-id"
    return f"{what} not finite at iteration {iteration + 1}; {kept}: {advice}"


def learning_rate(iteration, max_iter, lr):
    return lr if iteration < math.ceil(DECAY_AFTER * max_iter) else lr / 10


def train(
    experiment,
    features,  # an ImageFeatures
    corpus_support_sets,
    support_sets,
    stop,  # StopRequest: asked between two iterations
    device,
    seed=0,
    objective=("nonlinear", "cossim", 1.0),  # idea, loss, temperature
    shift_range=(0.25, 0.45),  # in units of the latent space
    batch_size=32,
    micro_batch_size=None,  # images at a time in the networks; None: all
    max_iter=10_000,
    lr=1e-3,
    log_freq=10,  # iterations an entry of stats.json
    ckp_freq=1000,  # iterations a checkpoint
):
    """Train the support sets until `max_iter`, or until `stop` is wished; go on from the experiment's checkpoint.

    Returns whether the end was reached. Raises UserError where the loss is no longer finite.
    """
    run = Run(support_sets, lr)
    if distributed.from_first(experiment.checkpoint.exists):
        run.load(experiment.checkpoint)
    num_paths, z_dim = support_sets.num_paths, features.space.generator.z_dim
    bar = tqdm(initial=run.iteration, total=max_iter, desc="training", unit="it", dynamic_ncols=True,
               disable=not distributed.is_first())
    with bar:
        while run.iteration < max_iter and not stop.wished():
            rate = learning_rate(run.iteration, max_iter, lr)
            run.optimizer.param_groups[0]["lr"] = rate
            batch = draw(run.iteration, batch_size, num_paths, z_dim, shift_range, seed)
            batch = [tensor.to(device) for tensor in batch]
            run.optimizer.zero_grad()
            value = step(features, support_sets, corpus_support_sets, batch, objective, micro_batch_size)
            if not math.isfinite(value):
                raise UserError(_not_finite("the loss is", run.iteration, experiment.checkpoint))
            if not all(parameter.grad.isfinite().all() for parameter in support_sets.parameters()):
                raise UserError(_not_finite("the gradient is", run.iteration, experiment.checkpoint))
            run.optimizer.step()
            run.iteration += 1
            run.losses.append(value)
            bar.update()
            if run.iteration % log_freq == 0 or run.iteration == max_iter:
                run.stats[run.iteration] = {"loss": sum(run.losses) / len(run.losses), "lr": rate}
                bar.set_postfix(loss=f"{run.stats[run.iteration]['loss']:.4f}", refresh=False)
                run.losses = []
            if run.iteration % ckp_freq == 0:
                checkpoint(run, experiment)
    checkpoint(run, experiment)
    return run.iteration == max_iter


def checkpoint(run, experiment):
    """Save the run, and the statistics up to it."""
    run.save(experiment.checkpoint)
    if distributed.is_first():
        write_json(run.stats, experiment.directory / "stats.json")


def prepare(experiment, space, num_dipoles, beta, device, seed):
    """The support sets before training: drawn now, or as the experiment's first start has left them."""
    file = experiment.models / "latent_support_sets_init.pt"
    if (experiment.directory / "args.json").exists():
        return LatentSupportSets.from_state(load_tensors(file), space.dim, file)
    radius, num_paths = jung_radius(space, device, seed), len(experiment.dipoles)
    sets = LatentSupportSets.random(num_paths, num_dipoles, space.dim, radius, beta, generator_for(seed, 2, 0))
    save_tensors(sets.state_dict(), file)
    experiment.begin({"jung_radius": radius})
    return sets
