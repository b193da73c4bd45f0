"""Models of the library open_clip: SigLIP, MobileCLIP, EVA and others. Needs requirements-open-clip.txt.

    open_clip:MODEL/TAG        released weights, as open_clip lists them
    open_clip:MODEL/FILE       weights in a file, for images that are prepared as for MODEL's released weights
    open_clip:MODEL/TAG=FILE   the same, if the released weights differ in how images are prepared: as for TAG
    open_clip:FOLDER           the result of `hf download REPOSITORY --local-dir FOLDER`

Released weights are taken from Hugging Face's cache, or else downloaded into it. A model whose tokenizer is not CLIP's
(such as SigLIP) also needs tokenizer.json and tokenizer_config.json, which are looked for beside a file, in a folder,
and in the cache. open_clip itself would read them with `transformers`, which is ten times as large and since version 5
rebuilds some tokenizers from their vocabulary; here, `tokenizers` reads them as they were released.
"""

import difflib
import logging
import re
import warnings
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import open_clip
import torch
from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import RemoteEntryNotFoundError
from open_clip import CLIPTextCfg
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH, SimpleTokenizer, get_clean_fn
from tokenizers import Tokenizer

from models.clip_interface import DOWNLOAD_TIMEOUT, OPEN_CLIP, Interface, reason
from models.errors import UserError, quoted
from models.untrusted.safetensors_files import check_safetensors
from models.untrusted.tensor_files import BrokenFile, check_tensors
from models.untrusted.text_files import load_json

TOKENIZER, TOKENIZER_SETTINGS = "tokenizer.json", "tokenizer_config.json"
SETTINGS = "open_clip_config.json"  # in a folder: the network's settings, and how its images are prepared
WEIGHTS = (".safetensors", ".bin", ".pth")
# More than any network of open_clip's has: vocabularies of 256,000 tokens, 100 layers.
LARGEST, MOST_LAYERS, MOST_PIXELS = 1_000_000, 200, 2048
LIMITS = {"layers": MOST_LAYERS, "depth": MOST_LAYERS, "image_size": MOST_PIXELS}
# A network in float32 takes twice the bytes of its file in half precision, and its masks some more.
MOST_GROWTH, MOST_MORE = 4, 256 << 20
TIMM_NAME = re.compile(r"[\w.-]+")  # without the address of a hub or a folder
CLEANING = ("canonicalize", "lower", "whitespace")  # of sentences
PREPARATION = ("mean", "std", "interpolation", "resize_mode")  # how images are prepared, in open_clip's lists


def load_open_clip(name):
    """What follows "open_clip:" -> (model, `Interface`) of a `CLIPEncoder`, on the CPU.

    Raises UserError for an unknown model or tag, for weights and tokenizers that are missing and cannot be downloaded,
    and for files that hold something else.
    """
    if Path(name).is_dir():
        source = folder = Path(name)
        network, options = _network_of(folder), {"model_name": f"local-dir:{folder}"}
    else:
        network, source, options = _named(name)
        folder = source.parent
    text = network["text_cfg"]
    tokenize, padding = _tokenizer(text, folder)
    model = _model(source, **options)
    tokenize = _within_vocabulary(tokenize, padding, text.get("vocab_size", CLIPTextCfg.vocab_size), name)
    length = text.get("context_length", DEFAULT_CONTEXT_LENGTH)
    images = _preparation(model, name)
    height, _ = images.size
    return model, Interface(
        network["embed_dim"], tokenize, length, height, padding, images.mean, images.std,
        "bilinear" if images.interpolation == "bilinear" else "bicubic", images.resize_mode,
        images.fill_color / 127.5 - 1,
    )  # fmt: skip


def _preparation(model, name):
    """How images are prepared for a model, in open_clip's terms. Raises UserError where that cannot be."""
    stated = model.visual.preprocess_cfg
    try:
        images = open_clip.transform.PreprocessCfg(**stated)
        sizes = images.size if isinstance(images.size, (tuple, list)) else (images.size, images.size)
        numbers = [*images.mean, *images.std, images.fill_color]
        is_possible = len(images.mean) == len(images.std) == 3 and 0 not in images.std and all(
            type(number) in (int, float) and abs(number) < LARGEST for number in numbers)
    except (TypeError, ValueError, AssertionError):
        is_possible = False
    if not is_possible or not all(type(size) is int and 1 <= size <= MOST_PIXELS for size in sizes):
        raise UserError(f"{OPEN_CLIP}{name} says of how images are prepared what cannot be ({str(stated)[:80]}): "
                        "download it again")
    if len(set(sizes)) > 1:
        raise UserError(f"{OPEN_CLIP}{name} sees images of {sizes[0]} x {sizes[1]} pixels: choose a model for square "
                        "images")
    return replace(images, size=tuple(sizes))


def _named(name):
    """ "MODEL/.." -> (settings of the network, file of its weights, arguments of `open_clip.create_model`)."""
    model, tag, file = _parse(name)
    network = open_clip.get_model_config(model)
    _check_text(network["text_cfg"])
    released = open_clip.get_pretrained_cfg(model, tag) if tag else {}
    preparation = released or _usual_preparation(model)
    file = file or _released_weights(name, released["hf_hub"])
    return network, file, {
        "model_name": model,
        "pretrained": str(file),
        "force_quick_gelu": released.get("quick_gelu", False),
        "force_preprocess_cfg": {key: preparation[key] for key in PREPARATION if key in preparation},
    }


def _parse(name):
    """ "MODEL/.." -> (a model that open_clip knows, one of its tags or None, an existing file or None)."""
    model, _, weights = name.partition("/")
    models = open_clip.list_models()
    if model not in models:
        near = difflib.get_close_matches(model, models, 4, 0.3)
        raise UserError(f"open_clip has no model {model!r} (similar ones: {', '.join(near)}), and {name!r} is not a "
                        "folder")
    tag, equals, path = weights.partition("=")
    if equals and open_clip.is_pretrained_cfg(model, tag):
        if not Path(path).is_file():
            raise UserError(f"{path} is missing, the weights in {OPEN_CLIP}{name}")
        return model, tag, Path(path).absolute()
    if open_clip.is_pretrained_cfg(model, weights):
        return model, weights, None
    if Path(weights).is_file():
        return model, None, Path(weights).absolute()
    tags = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "none"
    raise UserError(f"{weights!r} is neither a file nor released weights of open_clip's {model}, which are: {tags}")


def _network_of(folder):
    """The network's settings in a folder."""
    file = folder / SETTINGS
    network = _read_json(file).get("model_cfg")
    parts = {"embed_dim": int, "vision_cfg": dict, "text_cfg": dict}
    if not isinstance(network, dict) or not all(isinstance(network.get(part), kind) for part, kind in parts.items()):
        raise UserError(f"{file} has no model_cfg with {', '.join(parts)}: it is not a file of open_clip's")
    _check_text(network["text_cfg"])
    _check_sizes(network, file)
    _check_vision(network["vision_cfg"], file)
    if not any(file.suffix in WEIGHTS for file in folder.iterdir()):
        raise UserError(f"{folder} has no weights (.safetensors, .bin or .pth): put them there")
    return network


def _usual_preparation(model):
    """How images are prepared for the released weights of a model, if these agree; for CLIP, if none were released."""
    tags = open_clip.list_pretrained_tags_by_model(model)
    released = [open_clip.get_pretrained_cfg(model, tag) for tag in tags]
    if len({tuple(one[key] for key in PREPARATION) for one in released}) > 1:
        raise UserError(f"the released weights of {model} differ in how images are prepared: say which ones yours are "
                        f"like, by {OPEN_CLIP}{model}/TAG=FILE, where TAG is one of {', '.join(tags)}")
    return released[0] if released else {}


def _model(source, model_name, **options):
    """A model of open_clip's with the weights in `source`: a file, or a folder from which it chooses one."""
    files = [source] if source.is_file() else [file for file in source.iterdir() if file.suffix in WEIGHTS]
    for file in files:
        _check_weights(file, model_name)
    try:
        with _silent():
            _check_memory(files, model_name, options)
            model = open_clip.create_model(model_name, require_pretrained=True, weights_only=True, **options)
    except (MemoryError, UserError):
        raise
    except Exception as error:  # a damaged file fails in any way: unpickling, a missing key, a wrong shape
        raise UserError(f"{source} holds no weights of {model_name} that can be read ({reason(error)}): give those of "
                        "this model") from None
    for encode in ("encode_text", "encode_image"):  # CoCa normalises its features by default
        setattr(model, encode, partial(getattr(model, encode), normalize=False))
    return model


@contextmanager
def _silent():
    """Neither torch's warnings about odd files, before it fails on them, nor what the library logs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)


def _check_memory(files, model_name, options):
    """Raise UserError where a network needs much more memory than its weights have, before it is asked for."""
    with torch.device("meta"):
        model = open_clip.create_model(model_name, load_weights=False, device="meta", **options)
    needed = sum(one.numel() * one.element_size() for one in [*model.parameters(), *model.buffers()])
    if needed > MOST_MORE + MOST_GROWTH * max(file.stat().st_size for file in files):
        raise UserError(f"{files[0]} does not have the weights of its network, which takes {needed / 2**30:,.1f} GiB: "
                        "download the whole folder again")


def _check_weights(file, model_name):
    """Raise UserError where a file claims more than it has, or holds anything but tensors. The library reads it."""
    try:
        if file.suffix == ".safetensors":
            check_safetensors(file)
        elif file.suffix not in (".npz", ".npy"):
            check_tensors(file)
    except (BrokenFile, UserError) as error:
        why = error if isinstance(error, BrokenFile) else "it is not safetensors"
        raise UserError(f"{file} holds no weights of {model_name} that can be read ({why}): give those of this "
                        "model") from None


def _check_sizes(settings, file):
    """Raise UserError where a number among nested settings is larger than any network needs."""
    for key, value in settings.items():
        if isinstance(value, dict):
            _check_sizes(value, file)
        numbers = value if isinstance(value, list) else [value]
        most = LIMITS.get(key, LARGEST)
        for number in numbers:
            if isinstance(number, (int, float)) and not abs(number) <= most:
                raise UserError(f"{file} has {key} {str(value)[:40]}, where at most {most:,} is possible")


def _check_vision(vision, file):
    """Refuse networks of the package timm that it would fetch from elsewhere."""
    name = vision.get("timm_model_name")
    if name is not None and not (isinstance(name, str) and TIMM_NAME.fullmatch(name)):
        raise UserError(f"{file} names a network that is not one of timm's ({quoted(str(name))}): choose another model")
    if vision.get("timm_model_pretrained"):
        raise UserError(f"{file} asks for weights that are not in its folder (timm_model_pretrained): choose another "
                        "model")


def _check_text(text):
    """Refuse the few models whose text network comes from the package `transformers`."""
    if text.get("hf_model_name") or text.get("tokenizer_mode"):
        raise UserError("this model reads text with the package transformers, which is not used here: choose another "
                        "model")


def _tokenizer(text, folder):
    """A model's text settings and the folder of its weights -> (sentence -> token ids, id for padding)."""
    settings = text.get("tokenizer_kwargs", {})
    if settings.get("clean", "whitespace") not in CLEANING:
        raise UserError(f"this model's text is to be cleaned by {quoted(settings['clean'])}, which open_clip does not "
                        "know: choose another model")
    if not text.get("hf_tokenizer_name"):
        bpe = SimpleTokenizer(**settings)
        return lambda sentence: [bpe.sot_token_id, *bpe.encode(sentence), bpe.eot_token_id], 0
    file, special = _tokenizer_files(text["hf_tokenizer_name"], folder)
    try:
        tokenizer = Tokenizer.from_file(str(file))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        padding = _id(tokenizer, special["pad_token"])
        separator = _id(tokenizer, special["sep_token"]) if settings.get("strip_sep_token") else None
    except Exception as error:  # `tokenizers` raises plain Exceptions
        raise UserError(f"{file} or {TOKENIZER_SETTINGS} is not a tokenizer's ({reason(error)}): download it "
                        "again") from None
    clean = get_clean_fn(settings.get("clean", "whitespace"))
    return lambda sentence: [0 if id == separator else id for id in tokenizer.encode(clean(sentence)).ids], padding


def _within_vocabulary(tokenize, padding, size, name):
    """`tokenize`, which now refuses token ids that the network has no row for: tokenizers may have more than they ever
    use. Raises UserError where that for padding is one."""

    def checked(ids):
        if max(ids, default=0) >= size:
            raise UserError(f"the tokenizer of {quoted(name)} has a token {max(ids)}, and its network knows {size}: it "
                            "is another model's")
        return ids

    checked([padding])
    return lambda sentence: checked(tokenize(sentence))


def _id(tokenizer, token):
    """The id of a special token, which the settings give as a string or as a dict."""
    found = tokenizer.token_to_id(token["content"] if isinstance(token, dict) else token)
    if found is None:
        raise ValueError(f"{token} is not one of its tokens")
    return found


def _tokenizer_files(repository, folder):
    """The file of a tokenizer, and its settings: from the folder if they are there, else from Hugging Face."""
    names = (TOKENIZER, TOKENIZER_SETTINGS)
    files = [folder / name for name in names]
    if not all(file.is_file() for file in files):
        advice = f"put its {' and '.join(names)} into {folder}"
        files = [_from_hub("the tokenizer", repository, [name], advice) for name in names]
    return files[0], _read_json(files[1])


def _released_weights(name, place):
    """The file of released weights. place: "organisation/repository/", followed by the file if it has another name."""
    repository, _, file = place.rpartition("/")
    files = [str(Path(file).with_suffix(".safetensors")), file] if file else [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]
    return _from_hub(f"the weights of {name}", repository, files, f"give the folder, {OPEN_CLIP}FOLDER")


def _from_hub(what, repository, names, advice):
    """The first of these files that a repository has, from Hugging Face's cache or downloaded into it.

    Asks for a file's size first, which fails at once where `hf_hub_download` would retry for a minute.
    """
    for name in names:
        cached = try_to_load_from_cache(repository, name)
        if isinstance(cached, str):
            return Path(cached)
    why = "it has no such file"
    for name in names:
        try:
            get_hf_file_metadata(hf_hub_url(repository, name), timeout=DOWNLOAD_TIMEOUT)
            return Path(hf_hub_download(repository, name))
        except RemoteEntryNotFoundError:
            continue
        except Exception as error:  # no network, no permission, a full disk: each of the libraries has its own errors
            why = reason(error)
            break
    raise UserError(f"{what} ({names[0]}) are not here, and their download failed ({why[:30]}): run `hf "
                    f"download {repository} --local-dir FOLDER` where there is a network, and {advice}")


def _read_json(file):
    if not file.is_file():
        raise UserError(f"{file} is missing: download the whole folder")
    content = load_json(file)
    if not isinstance(content, dict):
        raise UserError(f"{file} does not hold settings: download it again")
    return content
