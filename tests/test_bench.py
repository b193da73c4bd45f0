"""The bench compares what computes the same."""

import copy

import pytest
import torch

from lib.dipoles import encode_dipoles, load_corpus
from lib.latent_space import latent_space
from lib.support_sets import CorpusSupportSets, LatentSupportSets
from lib.trainer import draw, step_loss
from models.clip_encoder import load_clip
from scripts.bench import plain


@pytest.mark.parametrize("network, space", [("stylegan2", "W+"), ("pggan", "Z")])
def test_plain_step_has_the_loss_and_gradient_of_ours(network, space, tiny_clip_file, request):
    generator = copy.deepcopy(request.getfixturevalue(f"tiny_{network}"))
    space, clip_encoder = latent_space(generator, space), load_clip(tiny_clip_file)
    corpus = CorpusSupportSets(encode_dipoles(load_corpus("expressions3"), clip_encoder), 0.75)
    batch = draw(0, 4, 3, generator.z_dim, (0.25, 0.45), seed=0)
    found = []
    for step in (plain.step_loss, step_loss):
        sets = LatentSupportSets.random(3, 4, space.dim, 9.0, 0.5, torch.Generator().manual_seed(0))
        generator.requires_grad_(step is plain.step_loss)
        clip_encoder.requires_grad_(step is plain.step_loss)
        loss = step(space, clip_encoder, sets, corpus, batch, ("nonlinear", "contrastive", 0.5))
        loss.backward()
        found.append((loss.detach(), sets.SUPPORT_SETS.grad.double().flatten()))
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-4, atol=0)
    assert torch.cosine_similarity(found[0][1], found[1][1], dim=0) > 0.9999
