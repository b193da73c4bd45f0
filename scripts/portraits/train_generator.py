"""Train the embedded default's generators on drawn portraits.

    python -m scripts.portraits.train_generator stylegan2
    python -m scripts.portraits.train_generator pggan

The generator is fitted to pairs of a latent code and the portrait that the code stands for (`world.py`): a regression,
which a CPU finishes in under an hour, where adversarial training wants days. Run the same command again to go on from
the last checkpoint.
"""

import argparse
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from tqdm import tqdm

from lib.files import save_tensors
from models.clip_encoder import load_clip
from models.load_generator import load_generator
from models.pggan import ProgGAN
from models.stylegan2 import MAPPING_LR_MULTIPLIER, StyleGAN2
from models.tensor_files import load_tensors
from scripts.portraits import world

CHANNELS = [128, 128, 96, 48, 24]  # at 4, 8, 16, 32 and 64 pixels
MAPPING_WIDTHS = [world.Z_DIM, 128, 128, world.Z_DIM]
GROWTH = {16: 0.15, 32: 0.4, 64: 1.0}  # images of this resolution until that share of all images
FEATURE_WEIGHT = 0.3  # makes the loss on features about as large as the one on pixels
EMA_HALF_LIFE = 5_000  # images


def build(kind):
    return StyleGAN2(MAPPING_WIDTHS, CHANNELS) if kind == "stylegan2" else ProgGAN(world.Z_DIM, CHANNELS)


def images_of(generator, z, resolution=world.RESOLUTION):
    """Latent codes (B, Z_DIM) -> images (B, 3, resolution, resolution), whatever the generator's kind."""
    codes = generator.w_plus(generator.mapping(z)) if isinstance(generator, StyleGAN2) else z
    return generator(codes, resolution)


def attention(resolution):
    """Weights (resolution, resolution) of the pixels: 4 at the middle of the face, 1 far from it. A brow or a nose is a
    few pixels, and a fit that weighs all alike leaves them blurred."""
    x = (torch.arange(resolution) + 0.5) / resolution - 0.5
    return 1 + 3 * torch.exp(-(x[:, None] ** 2 + x**2) / (2 * 0.2**2))


def fit_loss(images, targets):
    """Mean absolute error of pixels and of their differences, at scales down to 8 pixels, the face weighed most."""
    difference, loss = (images - targets) * attention(images.shape[-1]), 0.0
    while difference.shape[-1] >= 8:
        loss = loss + difference.abs().mean()
        loss = loss + difference.diff(dim=2).abs().mean() + difference.diff(dim=3).abs().mean()
        difference = F.avg_pool2d(difference, 2)
    return loss


class FeatureLoss(torch.nn.Module):
    """How far two images are in what the portraits' CLIP sees: mean absolute difference of its activations at 32, 16, 8
    and 4 pixels, each relative to their mean size. It weighs an eye or a mouth more than the few pixels it has do."""

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


def parameter_groups(generator, rate):
    """The mapping network's weights are stored 1 / MAPPING_LR_MULTIPLIER too large, and need as much more rate."""
    fast = [p for name, p in generator.named_parameters() if name.startswith("mapping.")]
    rest = [p for name, p in generator.named_parameters() if not name.startswith("mapping.")]
    groups = [{"params": rest, "base_rate": rate}]
    return groups + [{"params": fast, "base_rate": 0.3 * rate / MAPPING_LR_MULTIPLIER}] * bool(fast)


def rate_at(done, total, warmup=5_000):
    """Linear warm-up over `warmup` images, then a cosine to zero."""
    return min(1.0, done / warmup) * 0.5 * (1 + math.cos(math.pi * min(1.0, done / total)))


def fit_mapping(mapping, steps=10_000, rate=3.0):
    """Fit the mapping network alone, so that W is the space of the world's coordinates: rotated, of variance 1."""
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
    """Set what is not trained: the mean of W, over 100,000 codes. Noise stays silent, its strengths are zero."""
    if isinstance(generator, StyleGAN2):
        z = torch.randn(100_000, world.Z_DIM, generator=torch.Generator().manual_seed(3))
        generator.truncation.w_avg.copy_(generator.mapping(z).mean(dim=0))
    return {"generator_smooth": world.halved(generator.state_dict())}


def train(kind, work, total, batch, rate, pair_count, clip_file, start, done):
    """Fit until `total` images and return the averaged generator; checkpoints in `work` are resumed. Where there is
    none, and `start` names weights that `done` images were spent on, they are gone on from."""
    z, targets = world.load_pairs(work, pair_count)
    torch.manual_seed(0)
    generator, average = build(kind), build(kind)
    checkpoint = work / f"{kind}.pt"
    if start and not checkpoint.exists():
        generator.load_state_dict(load_generator(start, "cpu").state_dict())
    elif kind == "stylegan2" and not checkpoint.exists():
        fit_mapping(generator.mapping)
    average.load_state_dict(generator.state_dict())
    if kind == "stylegan2":
        for name, parameter in generator.named_parameters():
            parameter.requires_grad_(not name.endswith("noise_strength"))
    optimizer = torch.optim.Adam(parameter_groups(generator, rate), betas=(0.9, 0.99))
    if checkpoint.exists():
        saved = load_tensors(checkpoint)
        generator.load_state_dict(saved["generator"])
        average.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        done = saved["done"]

    feature_loss = FeatureLoss(clip_file)

    @torch.compile(dynamic=False)
    def loss_of(codes, images, resolution):
        images = F.avg_pool2d(images, world.RESOLUTION // resolution)
        found = images_of(generator, codes, resolution)
        loss = fit_loss(found, images)
        return loss + FEATURE_WEIGHT * feature_loss(found, images) if resolution == world.RESOLUTION else loss

    bar, mean = tqdm(initial=done, total=total, desc=kind, unit="img", mininterval=2), None
    while done < total:
        order = torch.Generator().manual_seed(done)
        chosen = torch.randint(len(z), (batch,), generator=order)
        for group in optimizer.param_groups:
            group["lr"] = group["base_rate"] * rate_at(done + batch, total)
        resolution = next(size for size, until in GROWTH.items() if done < until * total)
        loss = loss_of(z[chosen], world.to_float(targets[chosen]), resolution)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        done += batch
        keep = 0.5 ** (batch / min(EMA_HALF_LIFE, done / 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(generator.parameters()), 1 - keep)
        mean = loss.item() if mean is None else 0.99 * mean + 0.01 * loss.item()
        bar.update(batch)
        bar.set_postfix_str(f"loss {mean:.4f}", refresh=False)
        if done // batch % 500 == 0 or done >= total:
            save_tensors({"generator": generator.state_dict(), "average": average.state_dict(),
                        "optimizer": optimizer.state_dict(), "done": done}, checkpoint)
            save_tensors(finish(average), work / f"{kind}_portraits64.pth")
    bar.close()
    return average


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("stylegan2", "pggan"))
    parser.add_argument("--work", type=Path, default=Path("build/portraits"), help="data and checkpoints")
    parser.add_argument("--clip", default="clip_portraits64", help="whose features 64 px images are compared by")
    parser.add_argument("--images", type=int, default=570_000, help="images to fit")
    parser.add_argument("--pairs", type=int, default=48_000, help="different portraits among them")
    parser.add_argument("--start", help="weights to go on from where there is no checkpoint, as stylegan2_portraits64")
    parser.add_argument("--done", type=int, default=0, help="images that --start was fitted to; counted in --images")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=4e-3, help="learning rate at its highest")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    train(args.kind, args.work, args.images, args.batch_size, args.lr, args.pairs, args.clip, args.start, args.done)


if __name__ == "__main__":
    main()
