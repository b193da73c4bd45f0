"""CF-CLIP (Yu et al., ACM MM 2022, arXiv 2207.02812): for each dipole a network that edits codes, by CLIP-NCE.

    w -> w_hat = w + 0.1 M([w; T(CLIP(target))]) -> image -> views -> CLIP
    loss = 0.3 NCE + 0.2 (1 - cos(ArcFace)) + 0 |VGG - VGG| + 0.8 mean (w_hat - w)^2

The target is the first sentence of a dipole, the source the second. Edits begin from the target's feature, which T maps
into W+; the contrast tells the move of each view from the ways to the source in 79 phrasings.
"""

from dataclasses import dataclass

from lib.arguments import number
from lib.methods.text_edits import (
    WEIGHT,
    MapperSettings,
    TextEdit,
    identity_loss,
    load_where_present,
    read_checkpoint,
)
from lib.settings import FACT, POSITIVE, Range, setting
from models.errors import UserError

NEGATIVES = ("own", "first")
VIEWS = Range(low=1, high=1000)
PUBLISHED_CLIP = "ViT-B/32"


@dataclass(frozen=True, kw_only=True)
class CFCLIPSettings(MapperSettings):
    temperature: float = setting(0.1, POSITIVE)
    nce_lambda: float = setting(0.3, WEIGHT)
    nce_views: int = setting(8, VIEWS)
    nce_negatives: str = setting("own", NEGATIVES)
    no_antialias: bool = setting(False)
    perc_lambda: float = setting(0.0, WEIGHT)
    has_vgg: bool | None = setting(None, use=FACT)  # whether VGG-19's weights were there


class CFCLIP(TextEdit):
    Settings = CFCLIPSettings
    spaces = ("W+",)

    @staticmethod
    def add_arguments(parser):
        g = parser.add_argument_group("cf-clip")
        g.add_argument("--nce-lambda", type=number(float, WEIGHT), metavar="L",
                       help="weight of the contrastive loss (default: 0.3)")
        g.add_argument("--nce-views", type=number(int, VIEWS), metavar="V",
                       help="random perspectives of each edited image (default: 8)")
        g.add_argument("--nce-negatives", choices=NEGATIVES,
                       help="ways to the source's sentences from each image itself, or, as published, from the batch's "
                            "first image for all (default: own)")
        g.add_argument("--no-antialias", action="store_true",
                       help="shrink images for CLIP without antialiasing, as torchvision did at the time")
        g.add_argument("--perc-lambda", type=number(float, WEIGHT), metavar="L",
                       help="weight of VGG-19's activations staying the same (default: 0; animals: 0.02)")

    @staticmethod
    def defaults(given, family):
        return {"lr": 0.5, "batch_size": 2, "max_iter": 50_000, "id_lambda": 0.2}

    @staticmethod
    def check(settings):
        if not settings.groups:
            raise UserError("without the coarse, the medium and the fine mapper nothing is left: keep one")

    @staticmethod
    def experiment_name(settings, gan, corpus, num_paths):
        """CFCLIP_<gan>-W+<last layer>-K<paths>-<norm>[-no_<group>..]-<corpus>"""
        return f"CFCLIP_{gan}-{settings.space_name}-K{num_paths}-{settings.design}-{corpus}"

    @classmethod
    def read_published(cls, path):
        """A mapper's checkpoint: {"state_dict", "opts"}, beside the networks' tensors those of the generator.

        It says its sentence, whose feature it was trained with is that of CLIP ViT-B/32.
        """
        checkpoint = read_checkpoint(path)
        if checkpoint is None or not any(key.startswith("text_mapper.") for key in checkpoint.state):
            return None
        from models.clip_encoder import load_clip

        (text,) = load_clip(PUBLISHED_CLIP).encode_text([checkpoint.description])
        state = {f"mappers.0.{key}": tensor for key, tensor in checkpoint.state.items()} | {"mappers.0.text": text}
        return checkpoint.published("cf-clip", state, "W+")

    @staticmethod
    def weights_file(settings):
        return "counterfactual_mappers.pt"

    @classmethod
    def build(cls, settings, space, labels, device):
        import torch

        from lib.methods.phrasings import encode_phrasings
        from lib.methods.vgg19 import VGG19

        method = super().build(settings, space, labels, device)
        method.vgg = load_where_present(VGG19, "--perc-lambda", settings.perc_lambda, device)
        method.target_texts, method.source_texts = (
            torch.stack([encode_phrasings(poles[place], method.clip_encoder) for poles in labels]) for place in (0, 1)
        )
        return method

    def facts(self):
        return super().facts() | {"has_vgg": self.vgg is not None if self.settings.perc_lambda else None}

    def begin(self):
        from lib.draws import generator_for
        from lib.paths.mappers import CounterfactualMapper, Mappers

        settings, space = self.settings, self.space
        networks = [
            CounterfactualMapper(space.generator.w_dim, settings.mapper_norm, settings.groups, space.moved, text)
            for text in self.encode_texts().cpu()
        ]
        self.trained = Mappers(networks, settings.mapper_norm).draw_weights(generator_for(settings.seed, 2, 0))
        return {}

    @classmethod
    def load_paths(cls, state, space, source):
        from lib.paths.mappers import Mappers

        return Mappers.from_state(state, space, source, counterfactual=True).to(space.device)

    def draw(self, iteration):
        """codes (B, ...) of the space, path indices (B,), the views' corners (V, 2, 4, 2)."""
        from lib.draws import generator_for
        from lib.methods.clip_inputs import draw_views

        side = self.space.resolution or self.space.generator.resolution
        generator = generator_for(self.settings.seed, 4, iteration)
        return *super().draw(iteration), draw_views(self.settings.nce_views, side, generator)

    def ends(self, batch):
        codes, indices, _ = batch
        return [codes, self.space.shift(codes, self.paths(self.space.positions(codes), indices))]

    def see(self, codes, batch):
        """CLIP's features of the image (B, E), or where it is edited of its views (B, V, E); then those of ArcFace and
        VGG-19, where they are compared."""
        from lib.methods.clip_inputs import views_of

        images = self.space.synthesise(codes)
        if codes.requires_grad:
            views = views_of(images, batch[2])
            clip = self.encode(views.flatten(0, 1)).unflatten(0, views.shape[:2])
        else:
            clip = self.encode(images)
        faces = [] if self.arcface is None else [self.identity(images)]
        return (clip, *faces, *([] if self.vgg is None else [self.vgg(images)]))

    def encode(self, images):
        from lib.methods.clip_inputs import shortened

        if self.settings.no_antialias:
            images = shortened(images, self.clip_encoder.resolution)
        return self.clip_encoder.encode_images(images)

    def loss(self, seen, ends, batch):
        settings, (codes, indices, _) = self.settings, batch
        (plain, *before), (views, *after) = (one if isinstance(one, tuple) else (one,) for one in seen)
        texts = self.source_texts[indices], self.target_texts[indices]
        negatives_at = plain if settings.nce_negatives == "own" else plain[:1]
        loss = settings.nce_lambda * clip_nce(plain, views, *texts, negatives_at, settings.temperature).mean()
        loss = loss + settings.latent_l2_lambda * self.offsets(ends[1], codes).square().mean()
        if self.arcface is not None:
            loss = loss + settings.id_lambda * identity_loss(after[0], before[0])
        if self.vgg is not None:
            loss = loss + settings.perc_lambda * (after[-1] - before[-1].detach()).abs().mean()
        return loss

    def optimizer(self):
        from lib.methods.ranger import Ranger

        return Ranger(self.trained.parameters(), self.settings.lr)


def clip_nce(plain, views, source_texts, target_texts, negatives_at, temperature):
    """CLIP-NCE of each view with each positive (section 3.3): (B, V, 2).

    plain (B, E): unedited images; views (B, V, E) of the edited ones; source_texts, target_texts (B, T, E): unit
    features of T phrasings; negatives_at (B, E), or (1, E) for all: from which images the ways to the source lead.
    Features of images may have any length. The query is a view's move; the positives are the mean move from source to
    target, and the way from the image to the target's mean. They do not compete with each other.
    """
    import torch
    import torch.nn.functional as F

    plain, views, negatives_at = (F.normalize(features.detach() if features is not views else features, dim=-1)
                                  for features in (plain, views, negatives_at))  # fmt: skip
    queries = F.normalize(views - plain[:, None], dim=-1)
    text_moves = F.normalize((target_texts - source_texts).mean(dim=1), dim=-1)
    ways = F.normalize(target_texts.mean(dim=1) - plain, dim=-1)
    positives = torch.stack([text_moves, ways], dim=1)
    negatives = F.normalize(source_texts - negatives_at[:, None], dim=-1)
    hits = queries @ positives.mT / temperature  # (B, V, 2)
    misses = torch.logsumexp(queries @ negatives.mT / temperature, dim=-1, keepdim=True)
    return torch.logaddexp(hits, misses) - hits
