"""Train the embedded default's generators on drawn portraits.

    python -m scripts.portraits.train_generator stylegan2
    python -m scripts.portraits.train_generator stylegan2 --images 700000 --lr 2e-3 --sharpen

The generator is fitted to pairs of a latent code and the portrait that the code stands for (`world.py`). This is a
regression, which takes some hours on a CPU, where adversarial training alone would take days. Afterwards an adversary
can sharpen it. Run the same command again to resume from the last checkpoint; with more images, the learning rate
starts high again and falls to zero.
"""

import argparse
import math
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.nn.utils.parametrizations import spectral_norm
from tqdm import tqdm

from lib.command_line import run
from lib.files import save_tensors
from lib.judges.portraits import load_scorer
from models.clip_encoder import load_clip
from models.errors import UserError
from models.load_generator import load_generator
from models.pggan import ProgGAN
from models.stylegan2 import MAPPING_LR_MULTIPLIER, StyleGAN2
from models.untrusted.tensor_files import load_tensors
from scripts.portraits import scorer, world

CHANNELS = [128, 128, 96, 48, 24]  # at 4, 8, 16, 32 and 64 pixels
MAPPING_WIDTHS = [world.Z_DIM, 128, 128, world.Z_DIM]
GROWTH = {16: 0.15, 32: 0.4, 64: 1.0}  # images of this resolution until that share of all images
FEATURE_WEIGHT = 0.3  # makes the loss on features about as large as the one on pixels
FACTOR_WEIGHT = 3.0  # likewise for the factors, while the smallest details are still to be learned
ADVERSARIAL_WEIGHT = 0.3  # enough to sharpen edges that the other losses leave soft, and no more
EMA_HALF_LIFE = 5_000  # images


def build(kind):
    return StyleGAN2(MAPPING_WIDTHS, CHANNELS) if kind == "stylegan2" else ProgGAN(world.Z_DIM, CHANNELS)


def images_of(generator, z, resolution=world.RESOLUTION):
    """Latent codes (B, Z_DIM) -> images (B, 3, resolution, resolution), whatever the generator's kind."""
    codes = generator.w_plus(generator.mapping(z)) if isinstance(generator, StyleGAN2) else z
    return generator(codes, resolution)


def attention(resolution):
    """Weights (resolution, resolution) of the pixels: 4 in the middle of the face, 1 far from it. A brow or a nose has
    few pixels, and with equal weights it would stay blurred."""
    x = (torch.arange(resolution) + 0.5) / resolution - 0.5
    return 1 + 3 * torch.exp(-(x[:, None] ** 2 + x**2) / (2 * 0.2**2))


def fit_loss(images, targets):
    """Mean absolute error of pixels and of their differences, at scales down to 8 pixels, weighted by `attention`."""
    difference, loss = (images - targets) * attention(images.shape[-1]), 0.0
    while difference.shape[-1] >= 8:
        loss = loss + difference.abs().mean()
        loss = loss + difference.diff(dim=2).abs().mean() + difference.diff(dim=3).abs().mean()
        difference = F.avg_pool2d(difference, 2)
    return loss


class FeatureLoss(torch.nn.Module):
    """How different two images look to the portraits' CLIP: mean absolute difference of its activations at 32, 16, 8
    and 4 pixels, each relative to their mean size. An eye or a mouth counts more in it than its few pixels would."""

    def __init__(self, file):
        super().__init__()
        encoder = load_clip(file)
        self.visual = encoder.model.visual
        self.register_buffer("mean", encoder.mean)
        self.register_buffer("deviation", encoder.deviation)

    def activations(self, images):
        net, x = self.visual, (images - self.mean) / self.deviation
        x = net.relu2(net.bn2(net.conv2(net.relu1(net.bn1(net.conv1(x))))))
        yield x
        x = net.avgpool(net.relu3(net.bn3(net.conv3(x))))
        for layer in (net.layer1, net.layer2, net.layer3):
            x = layer(x)
            yield x

    def forward(self, images, targets):
        with torch.no_grad():
            wanted = list(self.activations(targets))
        pairs = zip(self.activations(images), wanted)
        return sum((found - target).abs().mean() / target.abs().mean() for found, target in pairs)


def load_reader(work, pair_count):
    """A network that reads factors, of another seed than the scorer that measures; trained once and kept in `work`."""
    file = work / "reader.pt"
    if not file.exists():
        reader = scorer.train(work, 150_000, pair_count, seed=1)
        save_tensors(world.halved(reader.state_dict()), file)
    return load_scorer(file)


class FactorLoss:
    """Squared difference of the factors that a reader finds in two images, summed over the factors. A factor that
    changes only a pixel or two, such as the size of a nose, hardly counts in the other losses and would stay at its
    mean.

    The reader sees both images blurred and jittered in the same way, which removes patterns that would only deceive a
    network.
    """

    def __init__(self, reader):
        self.reader = torch.compile(reader, dynamic=False)

    def __call__(self, images, targets, draws):
        images, targets = world.augment(torch.stack((images, targets), dim=1), draws).unbind(dim=1)
        with torch.no_grad():
            wanted = self.reader(targets)
        return (self.reader(images) - wanted).square().mean(dim=0).sum()


class Critic(torch.nn.Module):
    """Distinguishes renders from generated images, patch by patch: the discriminator of adversarial training, with
    hinge loss (Lim & Ye, 2017) and spectral normalisation (Miyato et al., 2018)."""

    def __init__(self, rate=4e-4):
        super().__init__()
        layers = []
        for before, after in pairwise((3, 32, 64, 128)):
            layers += [spectral_norm(torch.nn.Conv2d(before, after, 4, 2, 1)), torch.nn.LeakyReLU(0.2)]
        self.net = torch.nn.Sequential(*layers, spectral_norm(torch.nn.Conv2d(128, 1, 3, 1, 1)))
        self.optimizer = torch.optim.Adam(self.parameters(), rate, betas=(0.5, 0.99))

    def learn(self, images, renders):
        loss = F.relu(1 + self.net(images.detach())).mean() + F.relu(1 - self.net(renders)).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def loss(self, images):
        return -self.net(images).mean()


def parameter_groups(generator):
    """The mapping network's weights are stored 1 / MAPPING_LR_MULTIPLIER too large, and need as much more rate."""
    fast = [p for name, p in generator.named_parameters() if name.startswith("mapping.")]
    rest = [p for name, p in generator.named_parameters() if not name.startswith("mapping.")]
    groups = [{"params": rest, "rate_multiplier": 1.0}]
    return groups + [{"params": fast, "rate_multiplier": 0.3 / MAPPING_LR_MULTIPLIER}] * bool(fast)


def rate_at(done, total, warmup=5_000):
    """Share of the learning rate: a linear rise over `warmup` images, times a cosine that falls to zero at `total`."""
    return min(1.0, done / warmup) * 0.5 * (1 + math.cos(math.pi * min(1.0, done / total)))


def fit_mapping(mapping, steps=10_000, rate=3.0):
    """Fit only the mapping network, so that W is the space of the world's coordinates, rotated and with variance 1."""
    rotation = torch.linalg.qr(torch.randn(world.Z_DIM, world.Z_DIM)).Q
    optimizer = torch.optim.Adam(mapping.parameters(), betas=(0.9, 0.99))
    for step in tqdm(range(steps), desc="mapping", unit="it", mininterval=2):
        optimizer.param_groups[0]["lr"] = rate * rate_at(step + 1, steps, warmup=100)
        z = torch.randn(256, world.Z_DIM)
        wanted = (world.coordinates(z) - 0.5) * math.sqrt(12) @ rotation
        loss = (mapping(z) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"mapping: mean squared error {loss.item():.4f} of a variance of 1")


@torch.no_grad()
def finish(generator):
    """Set what is not trained: the mean of W, over 100,000 codes. Noise stays off, as its strengths are zero."""
    if isinstance(generator, StyleGAN2):
        z = torch.randn(100_000, world.Z_DIM, generator=torch.Generator().manual_seed(3))
        generator.truncation.w_avg.copy_(generator.mapping(z).mean(dim=0))
    return {"generator_smooth": world.halved(generator.state_dict())}


def matching_state(name_or_file, generator):
    """The state dict of a generator of the same kind and sizes."""
    state = load_generator(name_or_file).state_dict()
    if {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in generator.state_dict().items()}:
        raise UserError(f"{name_or_file} is not a {type(generator).__name__} of the size that is trained here: give "
                        "another one as --start")
    return state


class Training:
    """A generator, its running average and its optimizer, after `done` images; kept in the file `checkpoint`.

    The learning rate falls to zero from `begun` to `total` images. If a generator was trained to its end and is given a
    larger `total`, the learning rate starts high again.
    """

    def __init__(self, kind, checkpoint, total, start, done):
        torch.manual_seed(0)
        self.checkpoint, self.total, self.done, self.begun = checkpoint, total, done, done
        self.generator, self.average = build(kind), build(kind)
        for name, parameter in self.generator.named_parameters():
            parameter.requires_grad_(not name.endswith("noise_strength"))
        self.optimizer = torch.optim.Adam(parameter_groups(self.generator), betas=(0.9, 0.99))
        if checkpoint.exists():
            self.resume()
            return
        if start:
            self.generator.load_state_dict(matching_state(start, self.generator))
        elif kind == "stylegan2":
            fit_mapping(self.generator.mapping)
        self.average.load_state_dict(self.generator.state_dict())

    def resume(self):
        saved = load_tensors(self.checkpoint)
        for part in ("generator", "average", "optimizer"):
            getattr(self, part).load_state_dict(saved[part])
        self.done = saved["done"]
        self.begun = saved["begun"] if saved["total"] == self.total else self.done

    def save(self):
        parts = {part: getattr(self, part).state_dict() for part in ("generator", "average", "optimizer")}
        save_tensors(parts | {"done": self.done, "begun": self.begun, "total": self.total}, self.checkpoint)
        save_tensors(finish(self.average), self.checkpoint.with_name(f"{self.checkpoint.stem}_portraits64.pth"))

    def step(self, loss, batch, rate):
        share = rate_at(self.done + batch - self.begun, self.total - self.begun)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["rate_multiplier"] * share
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.done += batch
        keep = 0.5 ** (batch / min(EMA_HALF_LIFE, self.done / 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.generator.parameters()), 1 - keep)


def train(training, pairs, feature_loss, factor_loss, critic, batch, rate):
    """Fit to `pairs` of codes and portraits until the training's total, with a checkpoint every 500 batches."""

    @torch.compile(dynamic=False)
    def fit(codes, targets, resolution):
        targets = F.avg_pool2d(targets, world.RESOLUTION // resolution)
        images = images_of(training.generator, codes, resolution)
        loss = fit_loss(images, targets)
        if resolution == world.RESOLUTION:
            loss = loss + FEATURE_WEIGHT * feature_loss(images, targets)
        return images, loss

    z, portraits = pairs
    total, mean = training.total, None
    bar = tqdm(initial=training.done, total=total, desc=training.checkpoint.stem, unit="img", mininterval=2)
    while training.done < total:
        draws = torch.Generator().manual_seed(training.done)
        chosen = torch.randint(len(z), (batch,), generator=draws)
        targets = world.to_float(portraits[chosen])
        resolution = next(size for size, until in GROWTH.items() if training.done < until * total)
        images, loss = fit(z[chosen], targets, resolution)
        if resolution == world.RESOLUTION:
            loss = loss + FACTOR_WEIGHT * factor_loss(images, targets, draws)
            if critic:
                critic.learn(images, targets)
                loss = loss + ADVERSARIAL_WEIGHT * critic.loss(images)
        training.step(loss, batch, rate)
        mean = loss.item() if mean is None else 0.99 * mean + 0.01 * loss.item()
        bar.update(batch)
        bar.set_postfix_str(f"loss {mean:.4f}", refresh=False)
        if training.done // batch % 500 == 0 or training.done >= total:
            training.save()
    bar.close()


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("stylegan2", "pggan"))
    parser.add_argument("--work", type=Path, default=Path("build/portraits"), help="data and checkpoints")
    parser.add_argument("--clip", default="clip_portraits64", help="the CLIP whose features compare images of 64 px")
    parser.add_argument("--images", type=int, default=570_000, help="images to fit")
    parser.add_argument("--pairs", type=int, default=48_000, help="number of different portraits")
    parser.add_argument("--start", help="weights to start from if there is no checkpoint, as stylegan2_portraits64")
    parser.add_argument("--done", type=int, default=0, help="images that --start was fitted to; counted in --images")
    parser.add_argument("--sharpen", action="store_true", help="add an adversary, once the rest is learned")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=4e-3, help="learning rate at its highest")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    feature_loss = FeatureLoss(args.clip)
    training = Training(args.kind, args.work / f"{args.kind}.pt", args.images, args.start, args.done)
    critic = Critic() if args.sharpen else None
    pairs = world.load_pairs(args.work, args.pairs)
    factor_loss = FactorLoss(load_reader(args.work, args.pairs))
    train(training, pairs, feature_loss, factor_loss, critic, args.batch_size, args.lr)


if __name__ == "__main__":
    run(main)
