"""Train the small CLIP of the embedded default on rendered portraits and captions about them.

    python -m scripts.portraits.train_clip --minutes 20 --threads 2
    python -m scripts.portraits.train_clip --evaluate

Writes a half-precision state dict that `clip.load(FILE, jit=False)` reads. The method depends on the geometry of its
features: when one factor of a portrait changes, its image feature should move along the difference of the two sentences
about that factor, and not along that of others. Four losses teach this:

- matching: CLIP's contrastive loss, except that a caption matches every portrait of the batch that it is true of;
- direction: for two renders that differ in one factor, and two captions that differ in the words for it, the difference
  of the image features points along the difference of the text features, and not along that of another factor;
- sides: of two such captions, every portrait of the batch is nearer to the one that is true of its factor;
- factors: they can be read linearly from the image features and, if a caption mentions them, from the text features.
  The linear layers that read them make training start fast and are discarded afterwards.
"""

import argparse
import hashlib
import math
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from lib.command_line import run
from lib.dipoles import load_corpus
from lib.files import save_tensors
from models.clip_encoder import load_clip
from models.untrusted.tensor_files import load_tensors
from scripts.portraits import captions, renderer, world
from scripts.small_clip import SmallCLIP, Vocabulary, adamw, matching_loss

EMBED_DIM = 128
VISION_WIDTH, VISION_LAYERS = 24, (1, 1, 1, 1)
TEXT_WIDTH, TEXT_LAYERS = 64, 2
TRAINING_CONTEXT = 40  # tokens that a caption needs


def vocabulary_of_captions():
    return Vocabulary(captions.all_words())


def contrast_factors(names, generator):
    """Two portraits for each of P factor names, equal except for that factor, which is low, then high: (P, 2, 25)."""
    factors = captions.sample_factors(len(names), generator)[:, None].repeat(1, 2, 1)
    for row, name in enumerate(names):
        low, high = torch.rand(2, generator=generator) / 6
        factors[row, :, captions.INDEX[name]] = torch.stack([low, 1 - high])
        if name in captions.GUARDS:
            guard, (least, most) = captions.GUARDS[name]
            column = captions.INDEX[guard]
            factors[row, :, column] = least + (most - least) * factors[row, :, column]
    return factors


def portraits(work, count, seed):
    """The training set, rendered once and kept in `work`, as a dict:

    singles (N, 25) and pairs (P, 2, 25): factors; single_images, pair_images: their renders in uint8;
    names (P): the factor in which the two portraits of each pair differ. `count` portraits in all, half of them paired.
    """
    source = hashlib.sha256(Path(renderer.__file__).read_bytes()).hexdigest()
    key, cache = [count, seed, source], work / "portraits.pt"
    if cache.exists():
        data = load_tensors(cache)
        if data["key"] == key:
            return data
    generator, rng = torch.Generator().manual_seed(seed), random.Random(seed)
    poles = [name for name, _ in captions.POLES]
    # Two pairs in three are about the factors of the corpus `attributes`.
    names = [rng.choice(poles if rng.random() < 2 / 3 else list(captions.AXES)) for _ in range(count // 4)]
    pairs = contrast_factors(names, generator)
    singles = captions.sample_factors(count - 2 * len(names), generator)
    data = {"key": key, "names": names, "pairs": pairs, "singles": singles,
            "pair_images": world.render_uint8(pairs.flatten(0, 1), "pairs").unflatten(0, (-1, 2)),
            "single_images": world.render_uint8(singles, "portraits")}
    save_tensors(data, cache)
    return data


def jitter(images, generator):
    """Images (B, n, 3, H, W) in [-1, 1], shifted by up to 2 px and augmented; both images of a pair in the same way."""
    left, top = torch.randint(5, (2,), generator=generator).tolist()
    padded = F.pad(images.flatten(0, 1), (2, 2, 2, 2), mode="replicate")
    shifted = padded[..., top : top + world.RESOLUTION, left : left + world.RESOLUTION]
    return world.augment(shifted.reshape(images.shape), generator)


def draw_batch(data, vocabulary, batch, seed, iteration):
    """One batch of B = `batch` portraits, the first P * 2 = B / 2 of them in pairs (low, high). Returns a dict:

    images (B, 3, 64, 64); factors (B, 25); tokens (B, T); names (P): the pairs' factors;
    low, high (B, 25): the range that each caption states for each factor, NaN if it states none.
    It depends on (seed, iteration) alone, so that a resumed run equals an uninterrupted one.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + iteration)
    rng = random.Random(f"{seed} {iteration}")
    p = torch.randint(len(data["pairs"]), (batch // 4,), generator=generator)
    s = torch.randint(len(data["singles"]), (batch // 2,), generator=generator)
    images = [jitter(world.to_float(chosen), generator).flatten(0, 1)
              for chosen in (data["pair_images"][p], data["single_images"][s][:, None])]
    factors = torch.cat([data["pairs"][p].flatten(0, 1), data["singles"][s]])
    names = [data["names"][i] for i in p.tolist()]
    said = [one for row, name in zip(data["pairs"][p, 0].tolist(), names) for one in captions.contrast(row, name, rng)]
    said += [captions.describe(row, rng) for row in data["singles"][s].tolist()]
    low, high = torch.full((2, batch, len(captions.INDEX)), math.nan)
    for row, (_, statements) in enumerate(said):
        for statement in statements:
            for name, span in statement.ranges.items():
                low[row, captions.INDEX[name]], high[row, captions.INDEX[name]] = span
    return {"images": torch.cat(images), "factors": factors, "names": names, "low": low, "high": high,
            "tokens": vocabulary.encode([text for text, _ in said])}


def matches(factors, low, high, doubt=0.15):
    """Whether captions fit portraits: (B captions, B portraits), 1 for true, 0 for false, NaN for doubtful.

    A caption is true if each factor that it mentions is in the stated range, and false if one is further than `doubt`
    from its range.
    """
    beyond = torch.maximum(low[:, None] - factors, factors - high[:, None]).nan_to_num(-1.0).amax(dim=-1)
    fit = torch.full_like(beyond, math.nan)
    fit[beyond <= 0], fit[beyond > doubt] = 1.0, 0.0
    return fit.fill_diagonal_(1.0)


def direction_loss(image_features, text_features, names, temperature=0.1):
    """For P pairs (low, high) with unit features (P, 2, E) of images and texts, and their factor names (P): the image
    difference of a pair should find, by cosine, the text differences of its own factor among all, and vice versa."""
    image, text = (F.normalize(features[:, 1] - features[:, 0], dim=-1) for features in (image_features, text_features))
    same = torch.tensor([[float(a == b) for b in names] for a in names])
    # The opposite directions stand for swapped pairs: a factor's axis must not point along the reverse of another's.
    logits = image @ torch.cat([text, -text]).T / temperature
    back = text @ torch.cat([image, -image]).T / temperature
    same = torch.cat([same, torch.zeros_like(same)], dim=1)
    own = 1 - (image * text).sum(-1).mean()
    return (matching_loss(logits, same) + matching_loss(back, same)) / 2 + own


def sides_loss(logits, factors, names):
    """The loss on which of a pair's two captions is nearer: logits (2 P, B) of captions (low, high) x portraits,
    factors (B, 25), names (P). Cross-entropy over the portraits in which the pair's factor is visible and clear."""
    columns = torch.tensor([captions.INDEX[name] for name in names])
    value = factors[:, columns].T  # (P, B)
    shows = (value - 0.5).abs() > 0.15
    for row, name in enumerate(names):
        if name in captions.GUARDS:
            guard, (least, most) = captions.GUARDS[name]
            shows[row] &= (factors[:, captions.INDEX[guard]] - (least + most) / 2).abs() <= (most - least) / 2
    return F.binary_cross_entropy_with_logits((logits[1::2] - logits[::2])[shows], (value > 0.5)[shows].float())


def readout():
    """A linear layer: features (B, E), standardised over the batch -> factors (B, 25). Its first answer is 0.5."""
    linear = nn.Linear(EMBED_DIM, len(captions.INDEX))
    nn.init.zeros_(linear.weight)
    nn.init.constant_(linear.bias, 0.5)
    # Early in training, features are nearly equal: only their differences from the mean can teach the towers anything.
    return nn.Sequential(nn.BatchNorm1d(EMBED_DIM, affine=False), linear)


class Learner(SmallCLIP):
    """The CLIP in training, and the linear layers that read the factors."""

    def __init__(self, words):
        super().__init__(EMBED_DIM, world.RESOLUTION, VISION_LAYERS, VISION_WIDTH, TRAINING_CONTEXT, words, TEXT_WIDTH,
                         TEXT_LAYERS)
        self.from_image, self.from_text = readout(), readout()

    def losses(self, batch):
        """A batch of `draw_batch` -> its losses by name."""
        # In float32, since the layers are too narrow for bfloat16, which is 1.2 times slower on a CPU that has it.
        image = F.normalize(self.encode_images(batch["images"]), dim=-1)
        text = F.normalize(self.clip.encode_text(batch["tokens"]), dim=-1)
        factors, paired = batch["factors"], 2 * len(batch["names"])
        fit = matches(factors, batch["low"], batch["high"])
        logits = self.clip.logit_scale.exp() * text @ image.T
        # A caption stands for the middle of its range, an image for the factor itself.
        stated = (batch["low"] + batch["high"]) / 2
        text_error = (self.from_text(text) - stated.nan_to_num(0)).square()
        return {
            "matching": (matching_loss(logits, fit) + matching_loss(logits.T, fit.T)) / 2,
            "direction": direction_loss(image[:paired].unflatten(0, (-1, 2)), text[:paired].unflatten(0, (-1, 2)),
                                        batch["names"]),
            "sides": sides_loss(logits[:paired], factors, batch["names"]),
            "image factors": (self.from_image(image) - factors).square().mean(),
            "text factors": text_error[~stated.isnan()].mean(),
        }


# 30 makes the loss on image factors (1 / 12 at first) comparable to that on matching.
LOSS_WEIGHTS = {"matching": 1.0, "direction": 0.5, "sides": 2.0, "image factors": 30.0, "text factors": 2.0}


def train(data, vocabulary, work, batch, rate, iterations, minutes, seed):
    """Train until `iterations` or for `minutes` of training time, whichever comes first; resume from `work`."""
    torch.manual_seed(seed)
    learner = Learner(len(vocabulary.ids)).train()
    optimizer = adamw(learner, rate)
    checkpoint, iteration, spent = work / "clip_checkpoint.pt", 0, 0.0
    if checkpoint.exists():
        saved = load_tensors(checkpoint)
        learner.load_state_dict(saved["learner"])
        optimizer.load_state_dict(saved["optimizer"])
        iteration, spent = saved["iteration"], saved["spent"]

    def save():
        save_tensors({"learner": learner.state_dict(), "optimizer": optimizer.state_dict(), "iteration": iteration,
                     "spent": spent}, checkpoint)

    bar, saved_at, means = tqdm(initial=iteration, total=iterations, desc="clip"), spent, {}
    while True:
        progress = max(iteration / iterations if iterations else 0, spent / (60 * minutes) if minutes else 0)
        if progress >= 1:
            break
        began = time.monotonic()
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (iteration + 1) / 100) * (0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2)
        losses = learner.losses(draw_batch(data, vocabulary, batch, seed, iteration))
        optimizer.zero_grad(set_to_none=True)
        sum(LOSS_WEIGHTS[name] * loss for name, loss in losses.items()).backward()
        nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            learner.clip.logit_scale.clamp_(0, math.log(50))
        iteration, spent = iteration + 1, spent + time.monotonic() - began
        means = {name: 0.98 * means.get(name, loss.item()) + 0.02 * loss.item() for name, loss in losses.items()}
        if iteration % 20 == 0:
            bar.set_postfix_str(" ".join(f"{name} {mean:.3f}" for name, mean in means.items())
                                + f" {iteration * batch / spent:.0f} images/s")
        bar.update()
        if spent - saved_at > 60:
            save()
            saved_at = spent
    bar.close()
    save()
    return learner


def held_out(count, seed):
    """Pairs of portraits that training has not seen: images (9, count, 2, 3, 64, 64) in [-1, 1], with the factor of
    each dipole below 0.25, then above 0.75, and the other factors uniform and the same in both."""
    generator = torch.Generator().manual_seed(seed + 7_777_777)
    factors = torch.rand(len(captions.POLES), count, 1, len(captions.INDEX), generator=generator).repeat(1, 1, 2, 1)
    ends = torch.rand(len(captions.POLES), count, 2, generator=generator) / 4 + torch.tensor([0.0, 0.75])
    for dipole, (name, _) in enumerate(captions.POLES):
        factors[dipole, ..., captions.INDEX[name]] = ends[dipole]
    return torch.cat([renderer.render(chunk, world.RESOLUTION) for chunk in factors.flatten(0, 2).split(64)]).unflatten(
        0, (len(captions.POLES), count, 2))


@torch.no_grad()
def evaluate(file, seed, count=200):
    """Measure a released file with the encoder that the method uses, on `count` held-out pairs per dipole. Returns

    right (9,): share of the renders for which the true pole is nearer, by cosine, than the other one;
    alignment (9 factors, 9 dipoles): mean cosine of the image difference, low to high, and the dipole's text
    difference, signed so that the diagonal should be large.
    """
    encoder = load_clip(file, "cpu")
    signs = torch.tensor([float(sign) for _, sign in captions.POLES])
    text = F.normalize(encoder.encode_text([pole for dipole in load_corpus("attributes") for pole in dipole]), dim=-1)
    text = text.unflatten(0, (-1, 2))
    axes = F.normalize((text[:, 0] - text[:, 1]) * signs[:, None], dim=-1)  # (9, E), low to high
    images = held_out(count, seed)
    features = torch.cat([encoder.encode_images(chunk) for chunk in images.flatten(0, 2).split(256)])
    features = F.normalize(features, dim=-1).unflatten(0, images.shape[:3])  # (9, N, 2, E)
    scores = torch.einsum("knse,ke->kns", features, (text[:, 0] - text[:, 1]) * signs[:, None])
    right = torch.stack([scores[..., 0] < 0, scores[..., 1] > 0]).float().mean(dim=(0, 2))
    moves = F.normalize(features[:, :, 1] - features[:, :, 0], dim=-1)
    return right, torch.einsum("kne,je->kj", moves, axes) / count


def report(right, alignment):
    """Print what `evaluate` returns."""
    names = [name for name, _ in captions.POLES]
    print(f"{'factor':>12}  right  cosine of its change with each dipole: " + " ".join(f"{n[:7]:>7}" for n in names))
    for name, share, row in zip(names, right.tolist(), alignment.tolist()):
        print(f"{name:>12}  {share:5.3f}  {'':40}" + " ".join(f"{value:7.2f}" for value in row))
    own = alignment.diagonal()
    largest = (alignment.argmax(dim=1) == torch.arange(len(own))).sum().item()
    others = (alignment - torch.diag(own)).abs().sum() / (len(own) * (len(own) - 1))
    print(f"own dipole is the nearest for {largest} of {len(own)} factors; mean cosine with the own dipole "
          f"{own.mean():.2f}, with others {others:.2f} in size; least share right {right.min():.3f}")


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--work", type=Path, default=Path("build/portraits"), help="renders and checkpoints")
    parser.add_argument("--output", type=Path, help="the state dict (default: WORK/clip.pt)")
    parser.add_argument("--portraits", type=int, default=24000, help="how many to render")
    parser.add_argument("--batch", type=int, default=128, help="portraits per step; a multiple of 4")
    parser.add_argument("--rate", type=float, default=1.5e-3, help="largest learning rate")
    parser.add_argument("--iterations", type=int, help="steps to train for")
    parser.add_argument("--minutes", type=float, help="time to train for (default: 20, if no --iterations)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--evaluate", action="store_true", help="only measure the state dict")
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    output = args.output or args.work / "clip.pt"
    if not args.evaluate:
        args.work.mkdir(parents=True, exist_ok=True)
        vocabulary = vocabulary_of_captions()
        data = portraits(args.work, args.portraits, args.seed)
        minutes = args.minutes or (None if args.iterations else 20)
        learner = train(data, vocabulary, args.work, args.batch, args.rate, args.iterations, minutes, args.seed)
        learner.settle(draw_batch(data, vocabulary, 128, seed=2, iteration=i)["images"] for i in range(16))
        held = draw_batch(data, vocabulary, 256, seed=1, iteration=0)
        learner.match_norms(held["images"], held["tokens"])
        save_tensors(learner.released(vocabulary), output)
    right, alignment = evaluate(str(output), args.seed)
    report(right, alignment)


if __name__ == "__main__":
    run(main)
