"""Rendering paths, compared with the plain way: frames per second, and the share of time that the generator works.

    python -m scripts.bench.rendering
    python -m scripts.bench.rendering --setting portraits --pictures all --workers 2 --repeats 3

The plain way walks one code, one path and one direction at a time, makes one frame at a time, keeps the frames of a
path, and writes each picture before it goes on, animations with Pillow's own writer. Ours is
`lib.walking.traversal.traverse`: everything that traverse_latent_space.py does between loading and the pages, including
the start of its processes. Both run in turn in one process, into new folders, with the same codes, random paths and
generator. The table has the medians, and the command fails if the pictures differ. "Busy" is the share of the time that
is spent in the generator.

The settings: the embedded portraits at 64 px, and StyleGAN2 of the published shape at 256 px with random weights.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

SETTINGS = {  # codes, paths, steps in either direction
    "portraits": (2, 9, 15),
    "stylegan2_256": (1, 3, 4),
}
PICTURES = {
    "film": {"frames": False, "film": True},
    "images": {"frames": True},
    "all": {"frames": True, "film": True, "strip": True, "strip_number": 9, "strip_height": 256, "gif": True,
            "gif_height": 256, "gif_fps": 30},
}
EPS = 0.2
# Allowed mean difference of a picture's levels. Other batches round differently, by one level in a few places, which
# can change a colour of an animation's palette and therefore the dithering.
MOST_APART = {".jpg": 0.5, ".gif": 6}


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m scripts.bench.rendering",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--setting", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--pictures", nargs="+", choices=PICTURES, default=list(PICTURES),
                        help="a film of each path, which is what the command makes without flags; a file for each "
                             "image; or both, and strips and animations of 256 px")
    parser.add_argument("--device", default=None, help="cpu or cuda (default: cuda where there is one)")
    parser.add_argument("--threads", type=int, help="CPU threads of the generator (default: torch's own choice)")
    parser.add_argument("--batch-size", type=int, help="images at a time (default: the command's)")
    parser.add_argument("--workers", type=int, help="processes that encode (default: the command's)")
    parser.add_argument("--steps", type=int, help="steps in either direction (default: the setting's)")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each kind (default: 3)")
    return parser.parse_args(arguments)


class Timed:
    """A latent space that counts the seconds spent in its generator."""

    def __init__(self, space):
        self.space, self.seconds = space, 0.0

    def __getattr__(self, name):
        return getattr(self.space, name)

    def synthesise(self, codes):
        import torch

        begin = time.perf_counter()
        images = self.space.synthesise(codes)
        if images.is_cuda:
            torch.cuda.synchronize()
        self.seconds += time.perf_counter() - begin
        return images


def build(setting, device):
    """The generator's latent space and random paths in it."""
    import torch

    from lib.latent_space import latent_space
    from lib.paths.support_sets import LatentSupportSets
    from models.load_generator import load_generator
    from scripts.bench.networks import random_generator

    torch.manual_seed(0)
    if setting == "portraits":
        generator = load_generator("stylegan2_portraits64", device)
    else:
        generator = random_generator("stylegan2", 256).to(device)
    space = latent_space(generator, "W")
    draws = torch.Generator().manual_seed(0)
    paths = LatentSupportSets.random(SETTINGS[setting][1], 64, space.dim, space.dim**0.5, 0.5, draws).to(device)
    return space, paths.requires_grad_(False)


def write_pool(space, num_codes, folder):
    """The directories of the codes."""
    import torch

    from lib.files import save_tensors

    for i, z in enumerate(torch.randn(num_codes, space.generator.z_dim).split(1)):
        save_tensors(z.clone(), folder / f"code_{i}" / "latent_code_z.pt")
    return sorted(folder.iterdir())


def walk_from_one(space, paths, settings):
    """Our walk from one random code, in a folder that is removed again."""
    from lib.walking.traversal import traverse

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        list(traverse(space, paths, write_pool(space, 1, folder / "pool"), folder / "walk", settings))


def walk_plainly(space, support_sets, code, k, settings):
    """One path from one code, as a list of codes from the end of negative shifts to that of positive ones."""
    import torch

    walked = [code]
    for sign in (-1, 1):
        current = code
        for _ in range(settings.shift_steps):
            step = sign * settings.eps * support_sets(space.positions(current), torch.tensor([k]))
            current = space.shift(current, step)
            walked.append(current) if sign == 1 else walked.insert(0, current)
    return walked


def traverse_plainly(space, support_sets, sources, results, settings):
    import torch

    from lib.pixels import to_uint8
    from lib.pools import read_code
    from lib.walking import pictures

    with torch.no_grad():
        for source in sources:
            code = read_code(source, space)
            for k in range(support_sets.num_paths):
                path = walk_plainly(space, support_sets, code, k, settings)
                frames = [to_uint8(space.synthesise(code))[0] for code in path]
                images, strips = (results / source.name / name for name in ("paths_images", "paths_strips"))
                for i, frame in enumerate(frames if settings.frames else ()):
                    pictures.save_jpeg(frame, images / f"path_{k:03d}" / f"{i:06d}.jpg")
                if settings.film:
                    pictures.save_film(frames, strips / f"path_{k:03d}_film.jpg")
                if settings.strip:
                    file = strips / f"path_{k:03d}_strip.jpg"
                    pictures.save_strip(frames, file, settings.strip_number, settings.strip_height)
                if settings.gif:
                    save_gif_plainly(frames, strips / f"path_{k:03d}.gif", settings)


def save_gif_plainly(frames, file, settings):
    from PIL import Image

    size, fps = settings.gif_height, settings.gif_fps
    pictures = [Image.fromarray(frame).resize((size, size), Image.Resampling.LANCZOS) for frame in frames]
    palettes = [picture.quantize(256, Image.Quantize.FASTOCTREE) for picture in pictures]
    first, *rest = [picture.quantize(palette=palette) for picture, palette in zip(pictures, palettes)]
    images, duration = rest + rest[-2::-1], 10 * round(100 / fps)
    first.save(file, save_all=True, append_images=images, duration=duration, loop=0, optimize=True)


def check_same(plain, ours):
    """Fail if the two ways made different files or pictures."""
    import numpy as np
    from PIL import Image

    def pictures(folder):
        return {file.relative_to(folder) for file in folder.rglob("*") if file.suffix in (".jpg", ".gif")}

    extra = pictures(ours) - pictures(plain)
    if not pictures(plain) <= pictures(ours) or {file.name for file in extra} != {"original_image.jpg"}:
        raise SystemExit(f"the two ways made different files: {sorted(pictures(plain) ^ pictures(ours))[:3]}")
    for file in pictures(plain):
        a, b = (Image.open(folder / file) for folder in (plain, ours))
        for i in range(getattr(a, "n_frames", 1)):
            a.seek(i), b.seek(i)
            apart = np.abs(np.asarray(a.convert("RGB"), float) - np.asarray(b.convert("RGB"), float)).mean()
            if apart > MOST_APART[file.suffix]:
                raise SystemExit(f"the two ways made different pictures: {file}, frame {i}, by {apart:.2f} levels")


def measure(setting, pictures, args, device):
    """The table's row of one setting."""
    from lib.settings import WalkSettings
    from lib.walking.encoding import default_workers
    from lib.walking.synthesis import default_batch_size
    from lib.walking.traversal import traverse

    space, support_sets = build(setting, device)
    num_codes, num_paths, steps = SETTINGS[setting]
    steps = args.steps or steps
    settings = WalkSettings(shift_steps=steps, eps=EPS, **PICTURES[pictures])
    batch_size = args.batch_size or default_batch_size(space.generator)
    workers = default_workers() if args.workers is None else args.workers
    seconds, busy = {"plain": [], "ours": []}, {"plain": [], "ours": []}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        sources = write_pool(space, num_codes, folder / "pool")
        for repeat in range(args.repeats):
            for way in seconds:
                timed, results = Timed(space), folder / f"{way}_{repeat}"
                begin = time.perf_counter()
                if way == "plain":
                    traverse_plainly(timed, support_sets, sources, results, settings)
                else:
                    list(traverse(timed, support_sets, sources, results, settings, batch_size, workers))
                seconds[way].append(time.perf_counter() - begin)
                busy[way].append(timed.seconds / seconds[way][-1])
            check_same(folder / f"plain_{repeat}", folder / f"ours_{repeat}")
    frames = num_codes * num_paths * (2 * steps + 1)
    plain, ours = (frames / median(seconds[way]) for way in ("plain", "ours"))
    cells = [setting, pictures, batch_size, workers, frames, f"{plain:.2f}", f"{ours:.2f}", f"{ours / plain:.2f}"]
    cells += [f"{median(busy[way]):.0%}" for way in busy]
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def main(arguments=None):
    args = parse(arguments)

    import torch

    if args.threads:
        torch.set_num_threads(args.threads)
    torch.backends.cudnn.allow_tf32 = False  # the two ways are compared picture by picture
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"torch {torch.__version__}, {name}; medians of {args.repeats} runs, frames per second\n")
    print("| generator | pictures | batch | workers | frames | plain | ours | ratio | busy, plain | busy, ours |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for setting in args.setting:
        for pictures in args.pictures:
            measure(setting, pictures, args, device)


if __name__ == "__main__":
    main()
