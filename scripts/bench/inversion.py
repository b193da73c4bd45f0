"""Measure inversions where the truth is known.

    python -m scripts.bench.inversion faces --output faces.json
    python -m scripts.bench.inversion portraits --steps 100 --output portraits.json

faces: samples of dcgan_faces64 are recovered, and the judge's descriptor compares each with its inversion. portraits:
renders of known factors are inverted with stylegan2_portraits64, and the judge reads the factors of the inversions; so
are, as a floor, samples of the generator itself. The renders are those of the world that the generator was trained on,
and then of any factors, with heads that tilt and turn further than the generator ever saw. Photographs show what it
cannot. Nothing that is measured is of seeds that settings were chosen on.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import torch

from lib.arguments import positive_int, seed, steps
from lib.command_line import run
from lib.inversion import invert
from lib.inversion.pools import Bar
from lib.inversion.reach import measured_reach
from lib.judges import load_judge
from lib.latent_space import latent_space
from lib.settings import InversionSettings
from models.load_generator import load_generator
from scripts.portraits.renderer import render
from scripts.portraits.world import shaped

RECOVERED = 0.9  # cosine of descriptors
PHOTOGRAPHS = 8


def samples(space, count, seed):
    """Images (N, 3, R, R) of random codes, as a picture's file has them, in 256 steps."""
    z = torch.randn(count, space.generator.z_dim, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return _rounded(space.synthesise(space.codes_of(z)))


def _rounded(images):
    return ((images.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1


def inverted(space, targets, settings, label):
    """The inversion of targets, and what it took: (Inversion, {name: number})."""
    begun, used = time.perf_counter(), time.process_time()
    with Bar(label) as progress:
        found = invert(space, targets, settings, progress)
    took = {"seconds": time.perf_counter() - begun, "processor_seconds": time.process_time() - used}
    rmse = (found.images - targets).square().mean(dim=(1, 2, 3)).sqrt()
    return found, took | {"distance": found.distances.mean().item(), "rmse": rmse.mean().item()}


def faces(count, seed, settings):
    """Samples of the photographic faces, recovered in Z."""
    space, judge = latent_space(load_generator("dcgan_faces64"), "Z"), load_judge("faces64")
    targets = samples(space, count, seed)
    found, measured = inverted(space, targets, settings, "faces")
    identity = judge.identity
    cosines = identity.compare(identity.embed(found.images.clamp(-1, 1)), identity.embed(targets))
    recovered = int((cosines > RECOVERED).sum())
    return measured | {"recovered": recovered, "of": count, "identity": cosines.mean().item(),
                       "identities": sorted(round(cosine, 3) for cosine in cosines.tolist())}  # fmt: skip


def portraits(count, seed, settings):
    """Renders of known factors, a floor, and photographs."""
    space, judge = latent_space(load_generator("stylegan2_portraits64"), "W"), load_judge("portraits")
    settings = replace(settings, stylegan_space="W+")
    uniform = torch.rand(count, len(judge.names), generator=torch.Generator().manual_seed(seed))
    own = samples(space, count, seed)
    photographs = samples(latent_space(load_generator("dcgan_faces64"), "Z"), PHOTOGRAPHS, seed)
    pictures = {
        "renders": (_rounded(render(shaped(uniform))), shaped(uniform)),
        "renders of any factors": (_rounded(render(uniform)), uniform),
        "own samples": (own, judge(own)),
        "photographs": (photographs, None),
    }
    reach = measured_reach(latent_space(space.generator, "W+"), settings)
    measured = {"reach": reach._asdict()}
    for name, (targets, truth) in pictures.items():
        found, measured[name] = inverted(space, targets, settings, name)
        shares = [reach.share(distance) for distance in found.distances.tolist()]
        measured[name]["shown"] = {"least": min(shares), "most": max(shares)}
        if truth is not None:
            errors = (judge(found.images) - truth).abs()
            measured[name] |= {"factor error": errors.mean().item(), "largest": errors.mean(dim=1).max().item(),
                               "judge's own": (judge(targets) - truth).abs().mean().item(),
                               "by factor": dict(zip(judge.names, errors.mean(dim=0).tolist()))}  # fmt: skip
    return measured


def main(arguments):
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("what", choices=("faces", "portraits"))
    p.add_argument("--count", type=positive_int, default=32, help="pictures")
    p.add_argument("--seed", type=seed, default=11_000, help="of the pictures")
    p.add_argument("--steps", type=steps, default=InversionSettings.steps)
    p.add_argument("--samples", type=positive_int, default=InversionSettings.samples)
    p.add_argument("--threads", type=positive_int, help="of torch (default: its own choice)")
    p.add_argument("--output", type=Path, metavar="FILE.json")
    args = p.parse_args(arguments)
    if args.threads:
        torch.set_num_threads(args.threads)
    settings = InversionSettings(steps=args.steps, samples=args.samples)
    measured = {"faces": faces, "portraits": portraits}[args.what](args.count, args.seed, settings)
    text = json.dumps({"steps": args.steps, "samples": args.samples, "seed": args.seed,
                       "threads": torch.get_num_threads()} | measured, indent=1)  # fmt: skip
    print(text)
    if args.output:
        args.output.write_text(text + "\n")


if __name__ == "__main__":
    run(main)
