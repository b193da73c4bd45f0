"""Boundaries between codes whose images have large and small numbers, as InterFaceGAN finds them (Shen et al. 2020)."""

import hashlib
import json

import torch
import torch.nn.functional as F
from tqdm import tqdm

from lib import distributed
from lib.config import CACHE
from lib.draws import generator_for
from lib.files import save_tensors
from models.errors import UserError
from models.untrusted.tensor_files import load_tensors

CHUNK = 500  # images whose numbers are kept together: what a run that is stopped loses at most
IMAGES_AT_ONCE = 64
FITTED = 0.7  # of the extremes, as published; the others say how well a boundary parts them
LEAST_LEFT = 1e-3  # of a normal's length, outside the span of its conditions


@torch.no_grad()
def judged(space, read, count, seed, made_by, at_once=None):
    """Positions (count, d) of random codes, and the numbers (count, N) that a judge reads from their images.

    read: codes (B, ...) -> numbers (B, N). made_by: plain values that tell this generator and judge from all others.
    The numbers are kept, and serve all spaces: a run that was stopped goes on, and another one need not judge again.
    """
    key = hashlib.sha256(json.dumps([made_by, seed]).encode()).hexdigest()[:32]
    positions, numbers = [], []
    bar = tqdm(total=count, desc="judging", unit="image", dynamic_ncols=True, disable=not distributed.is_first())
    with bar:
        for first in range(0, count, CHUNK):
            drawn = min(CHUNK, count - first)
            z = torch.randn(drawn, space.generator.z_dim, generator=generator_for(seed, 15, first))
            codes, file = space.codes_of(z.to(space.device)), CACHE / "judged" / key / f"{first}-{drawn}.pt"
            found = _kept(file, drawn)
            if found is None:
                parts = codes.split(at_once or IMAGES_AT_ONCE)
                found = torch.cat([_numbers_of(read, part, bar) for part in parts])
                save_tensors(found, file)
            else:
                bar.update(drawn)
            positions.append(space.positions(codes).cpu())
            numbers.append(found)
    return torch.cat(positions), torch.cat(numbers)


def _numbers_of(read, codes, bar):
    numbers = read(codes).cpu()
    bar.update(len(codes))
    return numbers


def _kept(file, count):
    """The numbers (count, N) in a file of the cache; None where there are none, or they cannot be read."""
    if not file.is_file():
        return None
    try:
        numbers = load_tensors(file)
    except UserError:
        return None
    return numbers if isinstance(numbers, torch.Tensor) and numbers.ndim == 2 and len(numbers) == count else None


def fit_boundary(positions, numbers, share, seed, name):
    """The unit normal (d,) of the hyperplane between the positions (n, d) of the largest and of the smallest `share` of
    n numbers, on the side of the largest; and the share of held-out extremes on their own side.

    Raises UserError, with the number's name, where it does not vary.
    """
    from sklearn.svm import LinearSVC

    order, each = numbers.argsort(stable=True), int(share * len(numbers))
    if not numbers[order[-each]] > numbers[order[each - 1]]:
        raise UserError(f"the judge's number {name} is the same for most images: there is nothing to part")
    chosen = torch.cat([order[:each], order[-each:]])
    sides = torch.arange(2 * each) >= each
    shuffled = torch.randperm(2 * each, generator=generator_for(seed, 16, 0))
    # In units of the positions' spread, so that the SVM's penalty of 1 means the same in every space.
    scaled = positions[chosen] - positions.mean(dim=0)
    scaled = (scaled / positions.var(dim=0).mean().sqrt()).double()
    fitted, held_out = shuffled.split([int(FITTED * 2 * each), 2 * each - int(FITTED * 2 * each)])
    machine = LinearSVC(C=1.0, dual=False, max_iter=10_000).fit(scaled[fitted].numpy(), sides[fitted].numpy())
    accuracy = machine.score(scaled[held_out].numpy(), sides[held_out].numpy())
    return F.normalize(torch.from_numpy(machine.coef_[0]), dim=0).float(), float(accuracy)


def conditional(normal, conditions, name):
    """A unit normal (d,) without its part in the span of others, each (d,), and of unit length again.

    Raises UserError, with the number's name, where nothing is left of it.
    """
    if not conditions:
        return normal
    basis, _ = torch.linalg.qr(torch.stack(conditions, dim=1).double())
    left = normal.double() - basis @ (basis.T @ normal.double())
    if left.norm() < LEAST_LEFT:
        raise UserError(f"nothing of {name} is left without its conditions: name fewer with --condition")
    return F.normalize(left, dim=0).float()
