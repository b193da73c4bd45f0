"""Measure what the paths of an experiment on the portraits change.

    python -m scripts.portraits.measure_paths EXP_DIR --eps 0.1 --shift-steps 15

Walks each path from 32 fresh codes, reads the factors off both ends, and prints how far each factor moved from the end
of negative shifts to that of positive ones, in units of its range and averaged over the codes.
"""

import argparse

import torch

from lib.command_line import run
from lib.judges.portrait_factors import FACTORS, POLES
from lib.judges.portraits import load_scorer
from lib.trained import open_experiment
from lib.walking.traversal import trace

CODES = 32
ENOUGH = 0.4  # of a factor's range


@torch.no_grad()
def movements(directory, shift_steps, eps, seed=32):
    """The experiment's dipoles, and how far each path moves each factor, averaged over CODES fresh codes: (K, 25)."""
    experiment, scorer = open_experiment(directory), load_scorer()
    space, dipoles = experiment.space, experiment.labels
    z = torch.randn(CODES, experiment.generator.z_dim, generator=torch.Generator().manual_seed(seed))
    paths = trace(space, experiment.paths, space.codes_of(z), shift_steps, eps)
    ends = [scorer(space.synthesise(paths[:, :, end].flatten(0, 1))).clamp(0, 1) for end in (0, -1)]
    return dipoles, (ends[1] - ends[0]).unflatten(0, (CODES, len(dipoles))).mean(dim=0)


def report(dipoles, moved):
    """Print the three factors that each path moves most, and how the paths of `attributes` do."""
    right = strongest = 0
    for k, ((first, second), row) in enumerate(zip(dipoles, moved)):
        order = row.abs().argsort(descending=True)[:3].tolist()
        most = ", ".join(f"{FACTORS[i]} {row[i]:+.2f}" for i in order)
        name, sign = POLES[k]
        own = sign * row[FACTORS.index(name)].item()
        right += own >= ENOUGH
        strongest += FACTORS[order[0]] == name and own > 0
        print(f"path {k}  {second} -> {first}\n        {name} {'+' if sign > 0 else '-'}: moved {own:+.2f} that way; "
              f"most: {most}")
    print(f"\nits own factor moves the right way by {ENOUGH} of its range or more: {right} of {len(dipoles)} paths")
    print(f"and it moves most of all {len(FACTORS)} factors: {strongest} of {len(dipoles)} paths")


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exp", metavar="EXP_DIR", help="an experiment on the corpus `attributes`")
    parser.add_argument("--shift-steps", type=int, default=15, help="steps in either direction (default: the demo's)")
    parser.add_argument("--eps", type=float, default=0.1, help="length of a step (default: the demo's)")
    args = parser.parse_args(arguments)
    report(*movements(args.exp, args.shift_steps, args.eps))


if __name__ == "__main__":
    run(main)
