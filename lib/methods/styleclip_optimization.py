"""StyleCLIP's latent optimisation (Patashnik et al., ICCV 2021, section 4): each code of a pool, towards each sentence.

    w = w_0 + edit -> image -> CLIP
    loss = 1 - cos(CLIP(image), CLIP(sentence)) + 0.008 |w - w_0|^2 + L (1 - cos(ArcFace))

The sentence is the first of a dipole. All codes and sentences are optimised side by side, without a word to each other:
the loss is their sum, and Adam treats each number on its own. A walk takes the same pool; a shift of 1 is the edit.
"""

import math
from dataclasses import dataclass

from lib.methods.text_edits import (
    CLIP_INPUTS,
    EditSettings,
    TextEdit,
    encode_styleclip,
)
from lib.settings import setting
from models.errors import UserError

RAMP_UP, RAMP_DOWN = 0.05, 0.25  # shares of all steps


@dataclass(frozen=True, kw_only=True)
class StyleCLIPOptimizationSettings(EditSettings):
    clip_input: str = setting("clip", CLIP_INPUTS)


class StyleCLIPOptimization(TextEdit):
    Settings = StyleCLIPOptimizationSettings
    # 16 images at a time: a pool of any size in the same memory.
    unused = ("batch_size",)

    @staticmethod
    def defaults(given, family):
        return {"lr": 0.1, "max_iter": 300, "latent_l2_lambda": 0.008, "micro_batch_size": 16}

    @staticmethod
    def check(settings):
        if settings.pool is None:
            raise UserError("--method=styleclip-optimization needs --pool, the codes that it edits: make one with "
                            "sample_gan.py")

    @staticmethod
    def experiment_name(settings, gan, corpus, num_paths):
        """StyleCLIPoptimization_<gan>-<space><last layer>-K<paths>-<corpus>"""
        return f"StyleCLIPoptimization_{gan}-{settings.space_name}-K{num_paths}-{corpus}"

    @staticmethod
    def weights_file(settings):
        return "edits.pt"

    @classmethod
    def build(cls, settings, space, labels, device):
        import torch

        method = super().build(settings, space, labels, device)
        method.targets = method.styleclip_targets()
        if method.arcface is not None:
            parts = method.codes.split(settings.micro_batch_size or len(method.codes))
            with torch.no_grad():
                method.faces = torch.cat([method.identity(space.synthesise(part)) for part in parts])
        return method

    def begin(self):
        from lib.paths.edits import EditsOfCodes

        starts = self.space.positions(self.codes)
        self.trained = EditsOfCodes(starts, starts.new_zeros(len(starts), len(self.labels), self.space.dim))
        return {}

    @classmethod
    def load_paths(cls, state, space, source):
        from lib.paths.edits import EditsOfCodes

        return EditsOfCodes.from_state(state, space.dim, source).to(space.device)

    def draw(self, iteration):
        """codes (N K, ...) of the space, each K times; path indices (N K,)."""
        import torch

        num_paths = len(self.labels)
        return self.codes.repeat_interleave(num_paths, dim=0), torch.arange(num_paths).repeat(len(self.codes))

    def ends(self, batch):
        return [self.space.shift(batch[0], self.trained.EDITS.flatten(0, 1))]

    def see(self, codes, batch):
        """CLIP's features and, where faces are compared, ArcFace's."""
        images = self.space.synthesise(codes)
        clip = encode_styleclip(self.clip_encoder, images, self.settings.clip_input)
        return clip if self.arcface is None else (clip, self.identity(images))

    def loss(self, seen, ends, batch):
        import torch.nn.functional as F

        codes, indices = batch
        features = seen[0] if self.arcface is None else seen[0][0]
        cosines = (F.normalize(features, dim=1) * self.targets[indices]).sum(dim=1)
        loss = (1 - cosines).sum()
        loss = loss + self.settings.latent_l2_lambda * self.offsets(ends[0], codes).square().sum()
        if self.arcface is None:
            return loss
        before = self.faces.repeat_interleave(len(self.labels), dim=0)
        return loss + self.settings.id_lambda * (1 - (seen[0][1] * before).sum(dim=1)).sum()

    def learning_rate(self, iteration):
        """From 0 up, and down like half a cosine: that of StyleGAN2's projector."""
        share = iteration / self.settings.max_iter
        down = 0.5 - 0.5 * math.cos(math.pi * min(1, (1 - share) / RAMP_DOWN))
        return self.settings.lr * down * min(1, share / RAMP_UP)
