"""Where each channel of StyleGAN2's style space leads in CLIP's, and an edit of S for a sentence made of it.

StyleCLIP's global directions (Patashnik et al., ICCV 2021, section 6):

    d_c = unit(mean over images of unit(f(s_c = mean + 5 std) - f(s_c = mean - 5 std)))
    r_c = d_c . unit(target - neutral)
    edit_c = std_c r_c / max |r|, where |r_c| is at least beta; else 0
"""

import hashlib
import json

import torch
import torch.nn.functional as F
from tqdm import tqdm

from lib import distributed
from lib.config import CACHE
from lib.draws import generator_for
from lib.files import save_tensors
from lib.methods.clip_inputs import quantised
from lib.methods.phrasings import encode_phrasings
from models.errors import UserError
from models.untrusted.tensor_files import load_tensors

DEVIATIONS = 5  # how far a channel is moved, in standard deviations, in either direction
LAST_LAYER = 10  # convolutions are measured up to 128 pixels
SAMPLED_AT_ONCE = 1000
BETAS = [round(0.29 - 0.01 * i, 2) for i in range(20)]  # that the automatic choice tries, from the largest one down


def sample_styles(space, count, kept, seed):
    """Mean (d,) and population standard deviation (d,) of the positions of `count` sampled codes of S, and the first
    `kept` codes."""
    generator, total, squares, codes = generator_for(seed, 5, 0), 0, 0, []
    with torch.no_grad():
        for first in range(0, count, SAMPLED_AT_ONCE):
            z = torch.randn(min(SAMPLED_AT_ONCE, count - first), space.generator.z_dim, generator=generator)
            sampled = space.codes_of(z.to(space.device))
            if first < kept:
                codes.append(sampled[: kept - first])
            positions = space.positions(sampled).double()
            total, squares = total + positions.sum(dim=0), squares + positions.square().sum(dim=0)
    mean = total / count
    std = (squares / count - mean.square()).clamp_min(0).sqrt()
    return mean.float(), std.float(), torch.cat(codes)


def measured_widths(space):
    """The widths of the convolutions' style vectors that are measured: of those that paths move, up to 128 pixels."""
    return list(space.widths.values())[: min(space.layer, LAST_LAYER) + 1]


@torch.no_grad()
def directions_of_channels(see, codes, channels, mean, std, at_once, progress=lambda count: None):
    """Where channels, a range, lead in CLIP's space: (C, E), of unit length, or zeros where one changes nothing.

    see: codes (B, ...) -> CLIP's features (B, E), of up to `at_once`; progress is told of each number of codes seen.
    codes (N, ...): in all of them a channel gets a value below, and one above `mean`, and the other channels keep their
    own. (The published script leaves the channels that it has measured at their means in all that follow.)
    """
    features, count = [], len(channels) * 2 * len(codes)
    for first in range(0, count, at_once):
        items = torch.arange(first, min(first + at_once, count), device=codes.device)
        rows, signs = items % len(codes), items // len(codes) % 2 * 2 - 1
        moved, which = codes[rows], channels.start + items // (2 * len(codes))
        moved[torch.arange(len(items), device=codes.device), which] = mean[which] + signs * DEVIATIONS * std[which]
        features.append(see(moved))
        progress(len(items))
    below, above = torch.cat(features).view(len(channels), 2, len(codes), -1).unbind(1)
    return direction_of(below, above)


def direction_of(below, above):
    """CLIP's features (..., N, E) of N images with a channel lowered, and raised -> its direction (..., E)."""
    moves = F.normalize(F.normalize(above, dim=-1) - F.normalize(below, dim=-1), dim=-1)
    return F.normalize(moves.mean(dim=-2), dim=-1)


def measure_channels(space, clip_encoder, codes, mean, std, at_once):
    """The directions (C, E) of the channels of `measured_widths`. What was measured of a layer before is taken from the
    cache, so that a run that was stopped goes on."""

    def see(part):
        return clip_encoder.encode_images(quantised(space.synthesise(part)))

    key = _fingerprint(space, clip_encoder, codes, mean, std)
    widths, directions, first = measured_widths(space), [], 0
    bar = tqdm(total=sum(widths) * 2 * len(codes), desc="measuring channels", unit="image", dynamic_ncols=True,
               disable=not distributed.is_first())
    with bar:
        for layer, width in enumerate(widths):
            file = CACHE / "channel_directions" / key / f"layer{layer}.pt"
            if file.is_file():
                directions.append(_cached(file, (width, clip_encoder.embed_dim)).to(codes.device))
                bar.update(width * 2 * len(codes))
            else:
                channels = range(first, first + width)
                directions.append(directions_of_channels(see, codes, channels, mean, std, at_once, bar.update))
                save_tensors(directions[-1].cpu(), file)
            first += width
    return torch.cat(directions)


def _fingerprint(space, clip_encoder, codes, mean, std):
    """Of all that channels' directions follow from."""
    digest = hashlib.sha256(json.dumps([list(space.widths.items()), space.resolution]).encode())
    networks = (*space.generator.state_dict().values(), *clip_encoder.state_dict().values())
    for tensor in (codes, mean, std, *networks):
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def _cached(file, shape):
    tensor = load_tensors(file)
    if not isinstance(tensor, torch.Tensor) or tuple(tensor.shape) != shape:
        raise UserError(f"{file} is damaged: remove it, and it is made again")
    return tensor


def check_published(directions, space, embed_dim, file):
    """Raise UserError, naming the file, where directions (C, E) as of a published fs3.npy do not fit.

    They are of the channels of the first convolutions, in order.
    """
    widths = list(space.widths.values())[: space.layer + 1]
    possible = [sum(widths[: count + 1]) for count in range(len(widths))]
    if directions.ndim != 2 or len(directions) not in possible or directions.shape[1] != embed_dim:
        raise UserError(f"{file} has shape {tuple(directions.shape)}, which is not (channels, {embed_dim}) with "
                        f"{', '.join(map(str, possible))} channels: it is another generator's or CLIP's")
    if not directions.isfinite().all():
        raise UserError(f"{file} has numbers that are not finite")


def text_direction(target, neutral, clip_encoder):
    """From one sentence to another in CLIP's space (E,): unit difference of their unit means over the phrasings."""
    return text_direction_of(encode_phrasings(target, clip_encoder), encode_phrasings(neutral, clip_encoder))


def text_direction_of(target, neutral):
    """Features of phrasings (T, E) twice, of any length -> (E,)."""
    means = [F.normalize(F.normalize(texts, dim=1).mean(dim=0), dim=0) for texts in (target, neutral)]
    return F.normalize(means[0] - means[1], dim=0)


def automatic_beta(relevance, enough):
    """The largest beta of 0.29, 0.28, .. 0.10 that leaves more than `enough` of the channels (C,); else 0.10."""
    counts = ((beta, (relevance.abs() >= beta).sum().item()) for beta in BETAS)
    return next((beta for beta, count in counts if count > enough), BETAS[-1])


def edit_of(relevance, beta, std):
    """The edit (d,) for the relevance (C,) of the first C of d channels, whose standard deviations are std (d,).

    Raises ValueError where beta leaves no channel.
    """
    kept = torch.where(relevance.abs() < beta, 0, relevance)
    largest = kept.abs().max()
    if not largest > 0:
        raise ValueError("beta leaves no channel")
    edit = torch.zeros_like(std)
    edit[: len(kept)] = kept / largest * std[: len(kept)]
    return edit
