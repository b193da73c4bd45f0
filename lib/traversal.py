"""Walking learned paths: the codes on them, the frames of those codes, and the files of both.

    <exp>/results/<pool>/<2 * shift_steps>_<eps>_<total length>/
        index.html, results.md, results_strips.md
        <sha1 of the code>/
            original_image.jpg
            paths_images/path_000/000000.jpg ...      from the second sentence's end to the first's
            paths_strips/path_000_strip.jpg, path_000.gif
            paths_latent_codes.pt                     (K, frames, z_dim) or (K, frames, num_layers, w_dim)
            settings.json                             what it was made with
"""

import shutil

import torch

from lib import rendering
from lib.files import read_json, save_tensors, write_json
from lib.pool import read_code


@torch.no_grad()
def trace(space, support_sets, codes, shift_steps, eps):
    """Walk every path from every code, `shift_steps` steps of length `eps` in both senses, as one batch.

    codes (B, ...) -> (B, K, 2 * shift_steps + 1, ...): from the end of negative shifts to that of positive ones, with
    the start in the middle. Each step goes along the direction at the code that it starts from.
    """
    num_codes, num_paths = len(codes), support_sets.num_paths
    current = codes.repeat_interleave(2 * num_paths, dim=0)
    indices = torch.arange(num_paths).repeat_interleave(2).repeat(num_codes)
    steps = eps * torch.tensor([-1.0, 1.0], device=codes.device).repeat(num_codes * num_paths)[:, None]
    walked = [current]
    for _ in range(shift_steps):
        current = space.shift(current, steps * support_sets(space.positions(current), indices))
        walked.append(current)
    walked = torch.stack(walked, dim=1).unflatten(0, (num_codes, num_paths, 2))
    negative, positive = walked[:, :, 0], walked[:, :, 1]
    return torch.cat([negative[:, :, 1:].flip(2), positive], dim=2)


def frame_indices(shift_steps, leap):
    """Which codes of a traced path are shown: the start, and every `leap`-th on either side of it."""
    reach = shift_steps // leap * leap
    return list(range(shift_steps - reach, shift_steps + reach + 1, leap))


@torch.no_grad()
def render(space, codes, batch_size):
    """Images of codes (N, ...) as N frames (H, W, 3) uint8, `batch_size` at a time."""
    return [frame for part in codes.split(batch_size) for frame in rendering.to_uint8(space.synthesise(part))]


def write_path(directory, k, frames, pictures):
    """Write the frames of path k, and what is made of them, below a code's directory."""
    for i, frame in enumerate(frames):
        file = directory / "paths_images" / f"path_{k:03d}" / f"{i:06d}.jpg"
        rendering.save_jpeg(frame, file, pictures["img_size"], pictures["img_quality"])
    strips = directory / "paths_strips"
    if pictures["strip"]:
        file = strips / f"path_{k:03d}_strip.jpg"
        rendering.save_strip(frames, file, pictures["strip_number"], pictures["strip_height"])
    if pictures["gif"]:
        rendering.save_gif(frames, strips / f"path_{k:03d}.gif", pictures["gif_height"], pictures["gif_fps"])


def kept_and_wanted(made, settings):
    """The settings asked for, and those of the animations and strips that were made of the same frames before."""
    extras = [key for key in settings if key.startswith(("gif", "strip"))]
    if any(made.get(key) != settings[key] for key in settings.keys() - extras):
        return settings
    kept = {key: made[key] for key in extras if key in made and not settings[key.split("_")[0]]}
    return settings | kept


def traverse(space, support_sets, sources, results, settings, w_space=False, batch_size=None):
    """Walk all paths from the codes of a pool and write them below `results`; yields after each path of each code.

    sources: the codes' directories. settings: {flag: value} of all that decides what is made. A code's directory
    appears whole or not at all. One that has all of it is left as it is; one that lacks something is made again, with
    the animations and strips that it had.
    """
    shown = frame_indices(settings["shift_steps"], settings["shift_leap"])
    for source in sources:
        target, partial = results / source.name, results / f".{source.name}.partial"
        wanted = settings
        if (target / "settings.json").is_file():
            made = read_json(target / "settings.json")
            wanted = kept_and_wanted(made, settings)
            if made == wanted:
                yield from range(support_sets.num_paths)
                continue
        code = read_code(source, space, w_space)
        paths = trace(space, support_sets, code, settings["shift_steps"], settings["eps"])[0][:, shown]
        shutil.rmtree(partial, ignore_errors=True)
        for k, path in enumerate(paths):
            frames = render(space, path, batch_size or len(path))
            write_path(partial, k, frames, wanted)
            yield
        original = frames[len(frames) // 2]  # every path starts there
        rendering.save_jpeg(original, partial / "original_image.jpg", wanted["img_size"], wanted["img_quality"])
        save_tensors(paths.cpu().clone(), partial / "paths_latent_codes.pt")
        write_json(wanted, partial / "settings.json")
        if target.exists():
            shutil.rmtree(target)
        partial.rename(target)
