"""How long the explorer takes for one picture of a large generator, without browser and network.

    python -m scripts.bench.looks --resolution 1024 --device cuda

StyleGAN2 of the published shape with random weights, two paths in W: the picture of a look and its file, as preview and
as the whole. Milliseconds: the median and the 95th percentile of some looks, and the first one.
"""

import argparse
import time


def parse(arguments=None):
    p = argparse.ArgumentParser(prog="python -m scripts.bench.looks", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--resolution", type=int, choices=(256, 1024), default=1024)
    p.add_argument("--device", default="cpu")
    p.add_argument("--looks", type=int, default=30)
    return p.parse_args(arguments)


def begin(resolution, device):
    """(renderer, {slider's id: route})."""
    import torch

    from lib.exploring.rendering import Renderer, Route
    from lib.latent_space import latent_space
    from lib.paths.lines import Lines
    from scripts.bench.networks import random_generator

    torch.manual_seed(0)
    generator = random_generator("stylegan2", resolution).to(device)
    space = latent_space(generator, "W", truncation=0.7)
    paths = Lines.random(2, space.dim, torch.Generator().manual_seed(0)).to(device)
    return Renderer(generator), {f"path {k}": Route(space, paths, k, 2.0) for k in range(2)}


def times(renderer, routes, resolution, count):
    """(seconds of each picture, seconds of each file). resolution: of a preview; None: the whole picture."""
    from lib.exploring.looks import Look, Start
    from lib.exploring.pictures import Picture

    pictures, files = [], []
    for n in range(count):
        look = Look("", Start.of_seed(0, 0.7)).moved({"path 0": n / count, "path 1": -n / count})
        began = time.perf_counter()
        picture = Picture(renderer.picture(look, routes, resolution))
        made = time.perf_counter()
        picture.jpeg() if resolution else picture.png()
        pictures.append(made - began)
        files.append(time.perf_counter() - made)
    return pictures, files


def main(arguments=None):
    args = parse(arguments)
    renderer, routes = begin(args.resolution, args.device)
    print("| shown at | median | 95% | first | file |\n|---|---|---|---|---|")
    for shown in (renderer.preview, None):
        pictures, files = times(renderer, routes, shown, args.looks)
        ordered, middle = sorted(pictures), args.looks // 2
        numbers = ordered[middle], ordered[int(0.95 * len(ordered))], pictures[0], sorted(files)[middle]
        print(f"| {shown or args.resolution} px | " + " | ".join(f"{1000 * one:.0f} ms" for one in numbers) + " |")


if __name__ == "__main__":
    main()
