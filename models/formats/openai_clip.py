"""CLIPs as OpenAI publishes them: TorchScript archives, or the state dict of a `clip.model.CLIP`.

The network is the package's. Its size is read from the shapes of the tensors, as `clip.model.build_model` does, and
checked before it is built; the code that an archive brings with it is not run.
"""

import math
import warnings

import torch

from models.untrusted.tensor_files import BrokenFile, load_network

with warnings.catch_warnings():
    # The package `clip` asks setuptools for its copy of `packaging`, which is deprecated but pinned and harmless.
    warnings.filterwarnings("ignore", message=".*pkg_resources.*")
    import clip

HEAD = 64  # channels of a head of attention
NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")  # which OpenAI's archives hold as tensors
COUNTER = "num_batches_tracked"  # of batch norms: a whole number
VOCABULARY = 49408  # the tokenizer's
# More than any published CLIP has: ViT-L/14@336px has 24 layers of 1024 channels, 336 px, 577 positions.
LARGEST = 1024  # pixels
MOST_POSITIONS = 4097  # of the image's parts, and their class
LONGEST_TEXT = 1024  # tokens
MOST_LAYERS = 100
WIDEST = 8192  # channels
MOST_TOKENS = 1 << 20


def read_clip(file):
    """The `clip.model.CLIP` in a file: on the CPU, in float32, in evaluation mode, with the numbers that `clip.load`
    would give. Raises BrokenFile where the file is damaged or holds something else."""
    content, is_script = load_network(file)
    state = _checked(content)
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    model = _unfilled(*_sizes(shapes))
    expected = model.state_dict()
    if is_script:  # whose networks may have other tensors than their weights
        state = {key: value for key, value in state.items() if key in expected}
    _check_shapes(state, expected)
    state = {key: _as_loaded(state.pop(key), expected[key].dtype) for key in [*state]}
    model.load_state_dict(state, assign=True)
    mask = model.build_attention_mask()
    for block in model.transformer.resblocks:
        block.attn_mask = mask
    return model.eval()


def _checked(content):
    """The weights in a file's content, of whole numbers where they are counters, else of floating-point ones."""
    if not isinstance(content, dict) or not content:
        raise BrokenFile("it is not a state dict")
    state = {key: value for key, value in content.items() if key not in NOT_WEIGHTS}
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise BrokenFile(f"its {str(key)[:60]!r} is not a tensor")
        if value.is_floating_point() == key.endswith(COUNTER):
            raise BrokenFile(f"its {key[:60]!r} is of {value.dtype}".replace("torch.", ""))
    return state


def _sizes(shapes):
    """The arguments of `clip.model.CLIP`, from the shapes {key: shape} of its tensors, within the limits."""
    try:
        vision = _transformer(shapes) if "visual.proj" in shapes else _resnet(shapes)
        embed_dim = shapes["text_projection"][1]
        length, width = shapes["positional_embedding"]
        tokens = shapes["token_embedding.weight"][0]
    except KeyError as error:
        raise BrokenFile(f"its {error} is missing") from None
    except (IndexError, ValueError):
        raise BrokenFile("its tensors have other shapes than a CLIP's") from None
    layers = _count(shapes, "transformer.resblocks.", 2)
    resolution, vision_layers, vision_width, patch = vision
    depth = vision_layers if isinstance(vision_layers, int) else sum(vision_layers)
    for name, value, most in (
        ("pixels", resolution, LARGEST), ("layers", depth, MOST_LAYERS), ("channels", vision_width, WIDEST),
        ("features", embed_dim, WIDEST), ("positions of text", length, LONGEST_TEXT),
        ("layers of text", layers, MOST_LAYERS), ("channels of text", width, WIDEST), ("tokens", tokens, MOST_TOKENS),
    ):  # fmt: skip
        if not 1 <= value <= most:
            raise BrokenFile(f"it has {value:,} {name}, where 1 to {most:,} are possible")
    if tokens < VOCABULARY:
        raise BrokenFile(f"it has {tokens:,} tokens, and CLIP's tokenizer {VOCABULARY:,}")
    heads = width // HEAD
    if not heads or width % heads:
        raise BrokenFile(f"its text network has {width} channels, which are not heads of {HEAD}")
    return embed_dim, resolution, vision_layers, vision_width, patch, length, tokens, width, heads, layers


def _transformer(shapes):
    """(resolution, layers, width, pixels of a patch's side) of a vision transformer."""
    width, _, _, patch = shapes["visual.conv1.weight"]
    positions = shapes["visual.positional_embedding"][0]
    heads = width // HEAD
    if not 2 <= positions <= MOST_POSITIONS or not heads or width % heads:
        raise BrokenFile(f"its vision transformer has {positions:,} positions and {width:,} channels")
    return patch * round(math.sqrt(positions - 1)), _count(shapes, "visual.transformer.resblocks.", 3), width, patch


def _resnet(shapes):
    """(resolution, layers of the four stages, width, None) of a ResNet."""
    width, positions = shapes["visual.layer1.0.conv1.weight"][0], shapes["visual.attnpool.positional_embedding"][0]
    side = math.isqrt(max(positions - 1, 0))
    if not 2 <= positions <= MOST_POSITIONS or side**2 + 1 != positions or width * 32 % (width * 32 // HEAD or 1):
        raise BrokenFile(f"its ResNet has {positions:,} positions and {width:,} channels")
    layers = tuple(_count(shapes, f"visual.layer{stage}.", 2) for stage in range(1, 5))
    if not all(layers) or width * 32 < HEAD:
        raise BrokenFile(f"its ResNet has {layers} layers and {width:,} channels")
    return side * 32, layers, width, None


def _count(shapes, prefix, part):
    """How many different layers have tensors: the names at this place of the keys that begin so."""
    return len({key.split(".")[part] for key in shapes if key.startswith(prefix)})


def _unfilled(*sizes):
    """The network without numbers, of the types that the package gives them: half precision, but for norms and
    embeddings."""
    with torch.device("meta"):
        model = clip.model.CLIP(*sizes)
        clip.model.convert_weights(model)
    return model


def _check_shapes(state, expected):
    for key in [*expected, *state]:
        found = tuple(state[key].shape) if key in state else "no tensor"
        wanted = tuple(expected[key].shape) if key in expected else "no tensor"
        if found != wanted and not (key.endswith(COUNTER) and key not in state):  # files before 2018 lack counters
            raise BrokenFile(f"its {key[:60]!r} is {found}, where a CLIP of this size has {wanted}")


def _as_loaded(value, dtype):
    """A tensor as it is after `clip.load`: rounded to the package's type, then as float32."""
    value = value.to(dtype)
    return value.float() if value.is_floating_point() else value
