"""What the trainings of small CLIPs share: their vocabulary, their optimiser, and files that `clip.load` reads.

A small CLIP has CLIP's own tokenizer and networks, but few words. Training numbers their tokens from 0, and
the file that is released has zeros for all other tokens.
"""

import re

import torch
from torch import nn

from models.clip_encoder import clip
from models.clip_interface import DEVIATION, MEAN

CONTEXT, VOCABULARY = 77, 49408  # positions and tokens of CLIP's own files
START, END = VOCABULARY - 2, VOCABULARY - 1


class Vocabulary:
    """The token ids that sentences of some words contain, renumbered from 0 in the same order. The end of text stays
    the largest, which is how CLIP finds it."""

    def __init__(self, words):
        """words: all that a sentence can contain, punctuation too."""
        encode = clip.clip._tokenizer.encode
        pieces = {piece for word in words for piece in self.split(word)}
        tokens = {piece: encode(piece) for piece in pieces}
        self.ids = sorted({0, START, END}.union(*tokens.values()))  # (V,) 0 pads
        rank = {token: index for index, token in enumerate(self.ids)}
        self.words = {piece: [rank[token] for token in found] for piece, found in tokens.items()}

    @staticmethod
    def split(text):
        """Words and punctuation, as CLIP's tokenizer separates them before it looks for longer units."""
        return re.findall(r"[a-z]+|[^\sa-z]+", text)

    def encode(self, sentences):
        """Sentences (N) -> compact token ids (N, length of the longest), many times faster than CLIP's tokenizer."""
        start, end = len(self.ids) - 2, len(self.ids) - 1
        rows = [[start, *(i for word in self.split(text) for i in self.words[word]), end] for text in sentences]
        longest = max(map(len, rows))
        return torch.tensor([row + [0] * (longest - len(row)) for row in rows])


class SmallCLIP(nn.Module):
    """A CLIP in training, with a compact vocabulary: a ResNet for images, a transformer for sentences."""

    def __init__(self, embed_dim, resolution, vision_layers, vision_width, context, words, text_width, text_layers):
        """context: the tokens that a sentence of the training needs; words: the size of the vocabulary."""
        super().__init__()
        self.clip = clip.model.CLIP(embed_dim, resolution, vision_layers, vision_width, None, context, words,
                                    text_width, text_width // 64, text_layers)
        for name, weight in self.clip.visual.named_parameters():
            if name.endswith("bn3.weight"):
                nn.init.ones_(weight)  # CLIP initialises them to 0, which helps deep towers but delays this one
        self.clip.visual.to(memory_format=torch.channels_last)
        self.mean = 2 * torch.tensor(MEAN)[:, None, None] - 1
        self.deviation = 2 * torch.tensor(DEVIATION)[:, None, None]

    def encode_images(self, images):
        """Images (B, 3, R, R) in [-1, 1] -> features (B, E), normalised first as `CLIPEncoder` does."""
        images = (images - self.mean) / self.deviation
        return self.clip.encode_image(images.contiguous(memory_format=torch.channels_last))

    @torch.no_grad()
    def settle(self, batches):
        """Measure the statistics of batch normalisation again with the final weights, since running ones lag behind.

        batches: images (B, 3, R, R), as in training."""
        layers = [layer for layer in self.clip.visual.modules() if isinstance(layer, nn.BatchNorm2d)]
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # a plain mean over all batches
        self.clip.train()
        for images in batches:
            self.encode_images(images)

    @torch.no_grad()
    def match_norms(self, images, tokens):
        """Scale the image projection so that image features are as long as text features on average. Training leaves
        their length free, since it normalises them, but the warping compares distances between the two."""
        clip_model = self.clip.eval()
        features = clip_model.encode_text(tokens), self.encode_images(images)
        text_length, image_length = (one.norm(dim=1).mean() for one in features)
        for parameter in clip_model.visual.attnpool.c_proj.parameters():
            parameter.mul_(text_length / image_length)

    def released(self, vocabulary):
        """The state dict in the layout of CLIP's own files: half precision, 77 positions, 49408 tokens."""
        state = {name: value.detach().clone() for name, value in self.clip.state_dict().items()}
        known, learned = state["token_embedding.weight"], state["positional_embedding"]
        tokens, positions = torch.zeros(VOCABULARY, known.shape[1]), torch.zeros(CONTEXT, learned.shape[1])
        tokens[vocabulary.ids] = known
        positions[: len(learned)] = learned
        state |= {"token_embedding.weight": tokens, "positional_embedding": positions}
        return {name: (value.half() if value.is_floating_point() else value).contiguous()
                for name, value in state.items()}


def matching_loss(logits, fit):
    """CLIP's loss in one direction: the cross-entropy of logits (B, B), along rows, with the uniform distribution over
    the true matches of `fit`: 1 for true, 0 for false, NaN for doubtful ones, which are left out."""
    log_probability = logits.masked_fill(fit.isnan(), -torch.inf).log_softmax(dim=-1)
    true = fit == 1
    return -(log_probability.masked_fill(~true, 0).sum(-1) / true.sum(-1)).mean()


def adamw(module, rate):
    """AdamW, with weight decay for matrices only."""
    matrices = [p for p in module.parameters() if p.ndim > 1]
    vectors = [p for p in module.parameters() if p.ndim <= 1]
    return torch.optim.AdamW([{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}],
                             lr=rate, betas=(0.9, 0.98))
