"""StyleCLIP's global directions (Patashnik et al., ICCV 2021, section 6): edits of S without training.

    beta    the relevance below which a channel stays: a smaller one moves more of them (--channel-beta)
    alpha   how far: the shift of a walk, whose steps are --eps long; a negative one leads to the second sentence
"""

import argparse
from dataclasses import dataclass

from lib.arguments import number, positive_int
from lib.config import DEFAULT_CLIP
from lib.methods.method import Method
from lib.settings import COUNT, FACT, Range, TrainingSettings, setting
from models.errors import UserError

BETA = Range(0, 1)
AUTOMATIC = "auto"
ENOUGH, ENOUGH_FFHQ = 100, 20  # channels that the automatic beta leaves at least


def beta(text):
    return None if text == AUTOMATIC else number(float, BETA)(text)


@dataclass(frozen=True, kw_only=True)
class StyleCLIPGlobalSettings(TrainingSettings):
    corpus: str = setting("", named=True)
    clip_model: str = setting(DEFAULT_CLIP)
    channel_beta: float | None = setting(0.15, BETA, named=True)  # None: automatic
    channel_images: int = setting(100, COUNT)
    channel_samples: int = setting(100_000, COUNT)
    channel_directions: str | None = setting(None)
    channel_directions_sha256: str | None = setting(None, use=FACT)


class StyleCLIPGlobal(Method):
    Settings = StyleCLIPGlobalSettings
    unused = ("lr", "batch_size", "max_iter", "precision", "compile", "tensorboard")
    reads_corpus = True
    spaces = ("S",)

    @staticmethod
    def add_arguments(parser):
        g = parser.add_argument_group("styleclip-global (a walk's shift is alpha)")
        g.add_argument("--channel-beta", type=beta, metavar="BETA", default=argparse.SUPPRESS,
                       help="relevance below which a channel stays, 0.08 to 0.3, or auto (default: 0.15)")
        g.add_argument("--channel-images", type=positive_int, metavar="N",
                       help="images in which each channel is moved (default: 100)")
        g.add_argument("--channel-samples", type=positive_int, metavar="N",
                       help="codes of which channels' mean and deviation are taken (default: 100000)")
        g.add_argument("--channel-directions", metavar="FILE.npy",
                       help="channels' directions that were measured before, as StyleCLIP's fs3.npy")

    @staticmethod
    def defaults(given, family):
        return {"max_iter": 0, "truncation": 0.7, "micro_batch_size": 32}

    @staticmethod
    def check(settings):
        if settings.channel_images > settings.channel_samples:
            raise UserError(f"--channel-images {settings.channel_images} is above --channel-samples "
                            f"{settings.channel_samples}, of which they are the first: lower it")

    @staticmethod
    def experiment_name(settings, gan, corpus, num_paths):
        """StyleCLIPglobal_<gan>-S<last layer>-K<paths>-beta<beta>-<corpus>"""
        chosen = AUTOMATIC if settings.channel_beta is None else settings.channel_beta
        return f"StyleCLIPglobal_{gan}-{settings.space_name}-K{num_paths}-beta{chosen}-{corpus}"

    @classmethod
    def space_of(cls, settings, space):
        """All layers move, unless --stylegan-layer says otherwise."""
        from lib.latent_space import whole_space

        return whole_space(space) if settings.stylegan_layer is None else space

    @staticmethod
    def weights_file(settings):
        return "edits.pt"

    @classmethod
    def build(cls, settings, space, labels, device):
        from lib.dipoles import encode_dipoles, examine_dipoles
        from lib.methods.channel_directions import check_published
        from models.clip_encoder import load_clip
        from models.untrusted.numpy_files import load_array

        method = cls(settings, space, labels)
        method.clip_encoder, method.given = load_clip(settings.clip_model, device), None
        examine_dipoles(labels, encode_dipoles(labels, method.clip_encoder))
        if settings.channel_directions is not None:
            method.given = load_array(settings.channel_directions).to(device)
            check_published(method.given, space, method.clip_encoder.embed_dim, settings.channel_directions)
        return method

    def facts(self):
        from models.files import sha256

        file = self.settings.channel_directions
        return {"channel_directions_sha256": None if file is None else sha256(file)}

    def begin(self):
        """The edits as they stay."""
        import torch

        from lib.methods import channel_directions as channels
        from lib.paths.edits import Edits

        settings, space = self.settings, self.space
        counts = settings.channel_samples, settings.channel_images
        mean, std, codes = channels.sample_styles(space, *counts, settings.seed)
        directions = self.given
        if directions is None:
            at_once = settings.micro_batch_size or len(codes)
            directions = channels.measure_channels(space, self.clip_encoder, codes, mean, std, at_once)
        edits = []
        for target, neutral in self.labels:
            relevance = directions @ channels.text_direction(target, neutral, self.clip_encoder)
            edits.append(self.edit(relevance, std, target))
        self.trained = Edits(torch.stack(edits).cpu())
        return {}

    def edit(self, relevance, std, target):
        """An edit (d,), and a line about it. Raises UserError where beta leaves no channel."""
        from lib.methods.channel_directions import automatic_beta, edit_of

        chosen = self.settings.channel_beta
        if chosen is None:
            chosen = automatic_beta(relevance, ENOUGH_FFHQ if "ffhq" in self.settings.gan.lower() else ENOUGH)
        try:
            edit = edit_of(relevance, chosen, std)
        except ValueError:
            raise UserError(f"--channel-beta {chosen} leaves no channel for {target!r}, the most relevant one has "
                            f"{relevance.abs().max():.3f}: lower it") from None
        print(f"{target}: {(relevance.abs() >= chosen).sum()} of {len(relevance)} channels, beta {chosen}")
        return edit

    @classmethod
    def load_paths(cls, state, space, source):
        from lib.paths.edits import Edits

        return Edits.from_state(state, space.dim, source).to(space.device)
