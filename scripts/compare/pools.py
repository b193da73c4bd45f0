"""The codes that runs are measured from: pools of sample_gan.py, and parts of them."""

import shutil

from lib.pools import code_directories
from scripts.compare.training import command, flags_of


def pool_of(directory, world, seed, count):
    """A pool of `count` codes of a seed, below `directory`; made unless it is there."""
    home = directory / f"codes-seed{seed}"
    pool = next(home.glob(f"experiments/latent_codes/*/*-{count}"), None)
    if pool is None or len(code_directories(pool)) < count:
        command("sample_gan.py", home, flags_of(world.flags | {"num-samples": count, "seed": seed}))
        (pool,) = home.glob(f"experiments/latent_codes/*/*-{count}")
    return pool


def first_of(pool, count):
    """A pool of the first `count` codes of another, in the order of their names."""
    part = pool.with_name(f"{pool.name}-first{count}")
    if not part.is_dir():
        partial = part.with_name(f".{part.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        shutil.copy(pool / "args.json", partial)
        for source in code_directories(pool)[:count]:
            shutil.copytree(source, partial / source.name)
        partial.rename(part)
    return part
