"""What exists: folders, corpora, CLIP models, and their defaults. Data, no behaviour."""

from pathlib import Path

from models.registry import GENERATORS

ROOT = Path(__file__).resolve().parent.parent
CORPORA = {file.stem: file for file in sorted((ROOT / "lib" / "corpora").glob("*.json"))}

EXPERIMENTS = Path("experiments")  # below the working directory, as are the next four
WIP = EXPERIMENTS / "wip"
COMPLETE = EXPERIMENTS / "complete"
LATENT_CODES = EXPERIMENTS / "latent_codes"
CACHE = EXPERIMENTS / "cache"  # what can be computed again

DEFAULT_CLIP = "ViT-B/32"
# The embedded generators have CLIPs of their own, which know nothing but their images.
CLIP_OF = {name: "clip_portraits64" for name in GENERATORS if "portraits" in name} | {"dcgan_faces64": "clip_faces64"}

DEFAULT_STYLEGAN_LAYER = 11  # of W+; lowered to the last layer of smaller generators

PRECISIONS = ("fp32", "tf32", "bf16", "fp16")  # of the frozen networks, see lib/training/frozen.py
