"""The bench compares what computes the same."""

import copy

import pytest
import torch

from lib.dipoles import encode_dipoles, load_corpus
from lib.latent_space import latent_space
from lib.paths.support_sets import CorpusSupportSets, LatentSupportSets
from lib.training.frozen import ImageFeatures
from lib.training.trainer import draw, step
from models.clip_encoder import load_clip
from scripts.bench import plain


@pytest.mark.parametrize("network, space", [("stylegan2", "W+"), ("pggan", "Z")])
def test_plain_step_has_the_loss_and_gradient_of_ours(network, space, tiny_clip_file, request):
    generator = copy.deepcopy(request.getfixturevalue(f"tiny_{network}"))
    space, clip_encoder = latent_space(generator, space), load_clip(tiny_clip_file)
    corpus = CorpusSupportSets(encode_dipoles(load_corpus("expressions3"), clip_encoder), 0.75)
    batch = draw(0, 4, 3, generator.z_dim, (0.25, 0.45), seed=0)
    objective = ("nonlinear", "contrastive", 0.5)

    def support_sets():
        return LatentSupportSets.random(3, 4, space.dim, 9.0, 0.5, torch.Generator().manual_seed(0))

    ours, plainly = support_sets(), support_sets()
    loss = step(ImageFeatures(space, clip_encoder, "fp32"), ours, corpus, batch, objective)
    generator.requires_grad_(True)
    clip_encoder.requires_grad_(True)
    plain_loss = plain.step_loss(space, clip_encoder, plainly, corpus, batch, objective)
    plain_loss.backward()
    assert loss == pytest.approx(plain_loss.item(), rel=1e-4)
    gradients = [sets.SUPPORT_SETS.grad.double().flatten() for sets in (ours, plainly)]
    assert torch.cosine_similarity(*gradients, dim=0) > 0.9999
