"""Small CLIPs for the readers."""

import torch

EMBEDDING = 16  # numbers of a small CLIP's features
NETWORKS = {
    "resnet": (EMBEDDING, 32, (1, 1, 1, 1), 8, None, 77, 49408, 64, 1, 1),
    "transformer": (EMBEDDING, 32, 1, 64, 16, 77, 49408, 64, 1, 1),
}


def small_clip(kind):
    """The state dict of a small CLIP of random weights in half precision. All its words are alike, and take the memory
    of one: its file is quickly written."""
    state = small_clip_model(kind).state_dict()
    state = {key: value.half() for key, value in state.items() if value.is_floating_point()}
    return state | {"token_embedding.weight": torch.zeros(1).half().expand(49408, 64)}


def small_clip_model(kind):
    from models.formats.openai_clip import clip

    torch.manual_seed(0)
    model = clip.model.CLIP(*NETWORKS[kind]).eval()
    model.token_embedding.weight.data = torch.zeros(1).expand(49408, 64)
    return model
