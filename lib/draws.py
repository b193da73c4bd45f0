"""What an iteration draws: a function of (seed, iteration) alone, so that a resumed run equals an uninterrupted one."""

from contextlib import contextmanager

import torch


def generator_for(seed, stream, index):
    """A separate random generator for each (seed, stream, index)."""
    generator = torch.Generator()
    # Torch uses the lowest 32 bits of a seed: two indices of a stream never have the same ones, and streams start far
    # apart.
    return generator.manual_seed((seed * 1_000_003 + stream) * 1_000_000_007 + index & (2**63 - 1))


@contextmanager
def seeded(seed, stream, index):
    """Let torch's own draws within, such as those of a new layer's weights, follow from (seed, stream, index)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator_for(seed, stream, index).initial_seed())
        yield


def codes_of(iteration, batch_size, z_dim, seed):
    """Latent codes z (B, z_dim) of an iteration, standard normal."""
    return torch.randn(batch_size, z_dim, generator=generator_for(seed, 0, iteration))


def paths_of(iteration, batch_size, num_paths, seed):
    """Path indices (B,) of an iteration. The items of a run, in order, go through one random permutation of the paths
    after another, so that each path is drawn equally often."""
    items = range(iteration * batch_size, (iteration + 1) * batch_size)
    rounds = {item // num_paths for item in items}
    orders = {r: torch.randperm(num_paths, generator=generator_for(seed, 1, r)) for r in rounds}
    return torch.stack([orders[item // num_paths][item % num_paths] for item in items])


def draw(iteration, batch_size, num_paths, z_dim, shift_range, seed):
    """What an iteration draws: z (B, z_dim), path indices (B,), signed shifts (B,), uniform in +-[min, max]."""
    generator = generator_for(seed, 0, iteration)
    z = torch.randn(batch_size, z_dim, generator=generator)
    low, high = shift_range
    magnitudes = low + (high - low) * torch.rand(batch_size, generator=generator)
    signs = 2 * torch.randint(2, (batch_size,), generator=generator) - 1
    return z, paths_of(iteration, batch_size, num_paths, seed), signs * magnitudes
