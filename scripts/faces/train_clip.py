"""Train the CLIP of the photographic faces on what other networks say of the generator's images.

    python -m scripts.faces.train_clip --seed 0

Needs WORK/scores of scripts.faces.score. Writes a half-precision state dict that `clip.load(FILE, jit=False)` reads. A
run that was stopped goes on. Three losses, on images and their mirror images:

- matching: CLIP's contrastive loss, except that a caption matches every image of the batch that it is true of;
- contrasts: for each attribute, the image's unit feature times the unit difference of two sentences is the attribute's
  number, up to one scale for all;
- surroundings: pixels and points of the face that no sentence speaks of are seen by the image tower, too, along axes of
  their own. What a CLIP does not see, a path that it teaches changes at will.
"""

import argparse
import math
import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from lib.command_line import run
from lib.files import save_tensors
from models.files import replacing
from models.untrusted.tensor_files import load_tensors
from scripts.faces import captions, teachers
from scripts.small_clip import SmallCLIP, Vocabulary, adamw, matching_loss

RESOLUTION, EMBED_DIM = 64, 128
VISION_WIDTH, VISION_LAYERS = 16, (1, 1, 1, 1)
TEXT_WIDTH, TEXT_LAYERS, TRAINING_CONTEXT = 64, 2, 48
BALANCED = 0.7  # share of a batch that is drawn for an attribute and a side of it, all with the same chance
MARGIN = 2  # pixels that images are shifted by at most
NOISE = 0.03
SMALLER = 0.5  # axes of the surroundings move features by as much less than attributes do
WEIGHTS = {"matching": 1.0, "contrasts": 2.0, "surroundings": 1.0, "orthogonality": 0.2}
LEAST_FLAG = 0.5  # of facemesh, for a face
HELD_OUT = 2000  # images, the last ones, that are not trained on


class Learner(SmallCLIP):
    """The CLIP in training, with the scale of the attributes' numbers and the axes of the surroundings."""

    def __init__(self, words, surroundings):
        super().__init__(EMBED_DIM, RESOLUTION, VISION_LAYERS, VISION_WIDTH, TRAINING_CONTEXT, words, TEXT_WIDTH,
                         TEXT_LAYERS)
        self.log_scale = nn.Parameter(torch.tensor(2.0))
        self.axes = nn.Parameter(torch.randn(surroundings, EMBED_DIM))
        self.offsets = nn.Parameter(torch.zeros(len(captions.NAMES) + surroundings))

    def losses(self, batch):
        """A batch of `draw_batch` -> its losses by name."""
        image = F.normalize(self.encode_images(batch["images"]), dim=-1)
        text = F.normalize(self.clip.encode_text(batch["tokens"]), dim=-1)
        text, poles = text[: len(image)], text[len(image) :].unflatten(0, (-1, 2))
        fit = matches(batch["stated"], batch["sides"])
        logits = self.clip.logit_scale.exp() * text @ image.T
        contrasts, axes = F.normalize(poles[:, 0] - poles[:, 1], dim=-1), F.normalize(self.axes, dim=-1)
        scale = self.log_scale.exp()
        attributes = scale * image @ contrasts.T + self.offsets[: len(contrasts)]
        surroundings = scale / SMALLER * image @ axes.T + self.offsets[len(contrasts) :]
        overlap = torch.cat([contrasts, axes]) @ contrasts.T - torch.eye(len(axes) + len(contrasts), len(contrasts))
        return {
            "matching": (matching_loss(logits, fit) + matching_loss(logits.T, fit.T)) / 2,
            "contrasts": (attributes - batch["numbers"]).square().mean(),
            "surroundings": (surroundings - batch["surroundings"]).square().mean(),
            "orthogonality": overlap.square().sum(dim=0).mean(),
        }


def matches(stated, sides):
    """Whether captions fit images. stated (B, K): the side that a caption states of each attribute, 1, -1, or 0 for
    none; sides (B, K): the images', 0 where it is not clear. Returns (B captions, B images): 1, 0, or NaN for doubt.
    """
    agreement = stated[:, None] * sides
    fit = torch.where(((stated[:, None] != 0) & (agreement == 0)).any(dim=-1), math.nan, 1.0)
    return fit.masked_fill((agreement < 0).any(dim=-1), 0.0).fill_diagonal_(1.0)


class Data:
    """The images and their numbers, mirror images included: image i + N is the mirror image of image i.

    images (N, 3, 64, 64) uint8; read, numbers, sides (2 N, K): what the teachers read, what features are to follow, and
    what captions may say; surroundings (2 N, S). cells: for each attribute and side the indices of the images there.
    """

    def __init__(self, images, numbers, surroundings):
        """numbers (N, K): of `teachers.attributes`; surroundings (2, N, S)."""
        self.images = torch.from_numpy(images)
        both = np.concatenate([numbers, teachers.mirrored(numbers)])
        self.read, self.numbers = torch.from_numpy(both), torch.from_numpy(teachers.targets(both))
        self.sides = torch.from_numpy(teachers.sides(both))
        self.surroundings = torch.from_numpy(surroundings.reshape(2 * len(images), -1))
        self.cells = [torch.nonzero(self.sides[:, k] == side)[:, 0]
                      for k in range(len(captions.NAMES)) for side in (1, -1)]  # fmt: skip

    def drawn(self, count, generator):
        """Indices (count,) of images, of which a share is balanced over the attributes' sides."""
        balanced = round(BALANCED * count)
        cells = torch.randint(len(self.cells), (balanced,), generator=generator).tolist()
        chosen = [self.cells[cell][torch.randint(len(self.cells[cell]), (), generator=generator)] for cell in cells]
        others = torch.randint(len(self.sides), (count - balanced,), generator=generator)
        return torch.cat([torch.stack(chosen), others])

    def seen(self, indices, generator):
        """The images of indices, (B, 3, 64, 64) in [-1, 1], mirrored where they are, shifted and with noise."""
        count = len(self.images)
        images = self.images[indices % count].float() / 127.5 - 1
        images = torch.where((indices >= count)[:, None, None, None], images.flip(-1), images)
        left, top = torch.randint(2 * MARGIN + 1, (2,), generator=generator).tolist()
        padded = F.pad(images, (MARGIN,) * 4, mode="replicate")
        images = padded[..., top : top + RESOLUTION, left : left + RESOLUTION]
        return images + NOISE * torch.rand(len(images), 1, 1, 1, generator=generator) * torch.randn(
            images.shape, generator=generator)


def draw_batch(data, vocabulary, count, seed, iteration):
    """One batch of B = `count` images, as a dict. It depends on (seed, iteration) alone.

    images (B, 3, 64, 64); numbers, sides, stated (B, K); surroundings (B, S); tokens (B + 2 K, T) of a caption for each
    image and a contrast for each attribute.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + iteration)
    rng = random.Random(f"{seed} {iteration}")
    indices = data.drawn(count, generator)
    sides = data.sides[indices]
    stated, sentences = torch.zeros_like(sides), []
    for row, image in enumerate(sides.tolist()):
        clear = {name: image[k] for k, name in enumerate(captions.NAMES) if image[k]}
        text, said = captions.describe(clear, rng)
        sentences.append(text)
        for name, side in said.items():
            stated[row, captions.INDEX[name]] = side
    sentences += [pole for name in captions.NAMES for pole in captions.contrast(name, rng)]
    return {"images": data.seen(indices, generator), "numbers": data.numbers[indices], "sides": sides, "stated": stated,
            "surroundings": data.surroundings[indices], "tokens": vocabulary.encode(sentences)}


def train(data, vocabulary, checkpoint, batch, rate, iterations, seed, stop=None):
    """Train for `iterations`, resuming from the file `checkpoint`; stop: after how many, if before the end."""
    torch.manual_seed(seed)
    learner = Learner(len(vocabulary.ids), data.surroundings.shape[1]).train()
    optimizer, begun = adamw(learner, rate), 0
    if checkpoint.exists():
        saved = load_tensors(checkpoint)
        learner.load_state_dict(saved["learner"])
        optimizer.load_state_dict(saved["optimizer"])
        begun = saved["iteration"]
    bar, means = tqdm(range(begun, stop or iterations), initial=begun, total=iterations, desc="clip", mininterval=2), {}
    for iteration in bar:
        share = iteration / iterations
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (iteration + 1) / 100) * (0.01 + 0.99 * (1 + math.cos(math.pi * share)) / 2)
        losses = learner.losses(draw_batch(data, vocabulary, batch, seed, iteration))
        optimizer.zero_grad(set_to_none=True)
        sum(WEIGHTS[name] * loss for name, loss in losses.items()).backward()
        nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            learner.clip.logit_scale.clamp_(0, math.log(50))
        means = {name: 0.98 * means.get(name, loss.item()) + 0.02 * loss.item() for name, loss in losses.items()}
        bar.set_postfix_str(" ".join(f"{name} {mean:.3f}" for name, mean in means.items()), refresh=False)
        if (iteration + 1) % 100 == 0 or iteration + 1 == (stop or iterations):
            save_tensors({"learner": learner.state_dict(), "optimizer": optimizer.state_dict(),
                          "iteration": iteration + 1}, checkpoint)
    return learner


def load_data(work):
    """The `Data` to train on and the one that is held out. All numbers are made once and kept in `work`."""
    scores, cache = teachers.load_scores(work, ("images", "mesh", "flag")), work / "numbers.npz"
    if not cache.exists():
        everything = teachers.load_scores(work)
        numbers, areas = teachers.attributes(everything, *teachers.labelled())
        print("cross-validated AUC of the probes:", " ".join(f"{name} {area:.3f}" for name, area in areas.items()))
        with replacing(cache) as file:
            np.savez(file, numbers=numbers, surroundings=teachers.surroundings(everything))
    numbers, surroundings = (np.load(cache)[name] for name in ("numbers", "surroundings"))
    faces = scores["flag"][:, 0] > LEAST_FLAG
    held_out = np.arange(len(faces)) >= len(faces) - HELD_OUT
    return [Data(scores["images"][part], numbers[part], surroundings[:, part])
            for part in (faces & ~held_out, faces & held_out)]  # fmt: skip


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("build/faces"), help="scores and checkpoints")
    parser.add_argument("--output", type=Path, help="the state dict (default: WORK/clip_SEED.pt)")
    parser.add_argument("--batch", type=int, default=128, help="images per iteration")
    parser.add_argument("--rate", type=float, default=2e-3, help="largest learning rate")
    parser.add_argument("--iterations", type=int, default=1300)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    vocabulary = Vocabulary(captions.all_words())
    data, _ = load_data(args.work)
    learner = train(data, vocabulary, args.work / f"checkpoint_{args.seed}.pt", args.batch, args.rate, args.iterations,
                    args.seed)  # fmt: skip
    learner.settle(draw_batch(data, vocabulary, 128, args.seed + 1000, i)["images"] for i in range(16))
    held = draw_batch(data, vocabulary, 256, args.seed + 2000, 0)
    learner.match_norms(held["images"], held["tokens"])
    save_tensors(learner.released(vocabulary), args.output or args.work / f"clip_{args.seed}.pt")


if __name__ == "__main__":
    run(main)
