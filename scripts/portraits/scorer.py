"""Train the network that reads the factors from a portrait, for measuring what paths change (`lib.judges.portraits`).

    python -m scripts.portraits.scorer            train it on renders, and print its error

It sees only renders, blurred and jittered as a generator might blur and jitter them, and no generated images.
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from tqdm import tqdm

from lib.command_line import run
from lib.files import save_tensors
from lib.judges.portrait_factors import FACTORS
from lib.judges.portraits import FILE, FactorScorer, load_scorer
from scripts.portraits import world


def train(work, total, pair_count, seed, batch=64, rate=2e-3):
    """Train for `total` images of the generators' training set, and return the scorer."""
    z, images = world.load_pairs(work, pair_count)
    factors = world.factors_of(z)
    torch.manual_seed(seed)
    scorer = FactorScorer().train()
    steps = total // batch
    optimizer = torch.optim.AdamW(scorer.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    generator = torch.Generator().manual_seed(seed)
    bar = tqdm(range(steps), desc="scorer", unit="it", mininterval=2)
    for _ in bar:
        chosen = torch.randint(len(z), (batch,), generator=generator)
        seen = world.augment(world.to_float(images[chosen])[:, None], generator)[:, 0]
        loss = F.mse_loss(scorer(seen), factors[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        bar.set_postfix_str(f"loss {loss.item():.4f}", refresh=False)
    return scorer.eval()


@torch.no_grad()
def errors(scorer, count=2000, seed=9):
    """Mean absolute error of each factor on `count` renders that training has not seen: (25,)."""
    z, images = world.draw_pairs(count, seed)
    scores = torch.cat([scorer(world.to_float(part)) for part in images.split(250)])
    return (scores - world.factors_of(z)).abs().mean(dim=0)


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("build/portraits"), help="where the training set is kept")
    parser.add_argument("--images", type=int, default=300_000, help="images to train for")
    parser.add_argument("--pairs", type=int, default=48_000, help="number of different portraits")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    scorer = train(args.work, args.images, args.pairs, seed=0)
    save_tensors(world.halved(scorer.state_dict()), FILE)
    for name, error in zip(FACTORS, errors(load_scorer()).tolist()):
        print(f"{name:>22} {error:.3f}")


if __name__ == "__main__":
    run(main)
