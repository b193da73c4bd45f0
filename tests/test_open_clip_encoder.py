"""Models of the library open_clip, small and of random weights, against the library itself."""

import json
import socket
import string
import time
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from PIL import Image

from models.clip_encoder import load_clip
from models.clip_interface import OPEN_CLIP
from models.errors import UserError, quoted

open_clip = pytest.importorskip("open_clip")
huggingface_hub = pytest.importorskip("huggingface_hub")
tokenizers = pytest.importorskip("tokenizers")

from safetensors.torch import save_file  # noqa: E402

from models import open_clip_encoder  # noqa: E402

TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 1, "layers": 1}
NETWORKS = {
    "ResNet": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "head_width": 64, "patch_size": None},
        "text_cfg": TEXT,
    },
    "ViT": {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": TEXT,
    },
    "SigLIP": {
        "embed_dim": 96,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {"image_size": 160, "timm_model_name": "test_vit3", "timm_pool": "map", "timm_proj": "none"},
        "text_cfg": {
            "context_length": 12, "vocab_size": 120, "width": 32, "heads": 1, "layers": 1, "no_causal_mask": True,
            "proj_bias": True, "pool_type": "last", "hf_tokenizer_name": "nobody/SigLIP",
            "tokenizer_kwargs": {"clean": "canonicalize"},
        },
    },
    "MobileCLIP": {
        "embed_dim": 32,
        "custom_text": True,
        "vision_cfg": {"image_size": 256, "timm_model_name": "fastvit_mci0", "timm_pool": "avg", "timm_proj": None},
        "text_cfg": {**TEXT, "no_causal_mask": True},
    },
    "CoCa": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16, "attentional_pool": True,
                       "attn_pooler_heads": 1, "output_tokens": True},
        "text_cfg": {**TEXT, "context_length": 76, "embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {"context_length": 76, "vocab_size": 49408, "width": 32, "heads": 1, "layers": 1,
                           "attn_pooler_heads": 1},
        "custom_text": True,
    },
}  # fmt: skip
PREPARATIONS = {  # as open_clip lists the released weights of these kinds
    "ResNet": open_clip.get_pretrained_cfg("RN50", "openai"),
    "ViT": open_clip.get_pretrained_cfg("ViT-B-16", "laion2b_s34b_b88k"),
    "SigLIP": open_clip.get_pretrained_cfg("ViT-B-16-SigLIP", "webli"),
    "MobileCLIP": open_clip.get_pretrained_cfg("MobileCLIP-S1", "datacompdr"),
    "CoCa": {**open_clip.get_pretrained_cfg("coca_ViT-B-32", "laion2b_s13b_b90k"), "resize_mode": "longest"},
}
KINDS = list(NETWORKS)
SENTENCES = ["a photo of a smiling person.", "a photo of a sad person."]


def write_tokenizer(folder):
    """One that knows the sentences' words and the letters, with </s> at the end and to fill up, as SigLIP's."""
    words = {f"▁{word}": -1.0 for sentence in SENTENCES for word in sentence.rstrip(".").split()}
    letters = dict.fromkeys(string.ascii_lowercase, -9.0)
    pieces = {"<pad>": 0.0, "</s>": 0.0, "<unk>": 0.0, **words, "▁": -5.0, **letters}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.Unigram(list(pieces.items()), unk_id=2))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.enable_truncation(5)  # as some files have it; what is too long must be told all the same
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": {"content": "</s>"}}))


@pytest.fixture(scope="module")
def register(tmp_path_factory):
    """register(kind) -> the kind's small network is a model of open_clip's, of this name."""

    def add(kind, network=None):
        name = f"tiny-{kind}"
        file = tmp_path_factory.mktemp("configs") / f"{name}.json"
        file.write_text(json.dumps(network or NETWORKS[kind]))
        open_clip.add_model_config(file)
        return name

    return add


@pytest.fixture(scope="module")
def folders(tmp_path_factory, register):
    """folders(kind) -> a folder as `hf download` leaves one, its weights random and of half precision."""
    made = {}

    def make(kind):
        if kind in made:
            return made[kind]
        folder = tmp_path_factory.mktemp(kind)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = open_clip.create_model(register(kind))
        state = {name: value.half() if value.is_floating_point() else value
                 for name, value in model.state_dict().items()}  # fmt: skip
        save_file({name: value.contiguous() for name, value in state.items()}, folder / "open_clip_model.safetensors")
        preparation = {key: PREPARATIONS[kind][key] for key in ("mean", "std", "interpolation", "resize_mode")}
        settings = {"model_cfg": NETWORKS[kind], "preprocess_cfg": preparation}
        (folder / "open_clip_config.json").write_text(json.dumps(settings))
        if kind == "SigLIP":
            write_tokenizer(folder)
        return made.setdefault(kind, folder)

    return make


@pytest.fixture(scope="module")
def encoders(folders):
    """encoders(kind) -> its encoder, loaded once."""
    made = {}
    return lambda kind: made.get(kind) or made.setdefault(kind, load_clip(f"{OPEN_CLIP}{folders(kind)}"))


@pytest.fixture(scope="module")
def library(folders):
    """library(kind) -> (model, preprocessing of images) as open_clip itself loads them, loaded once."""
    made = {}
    load = open_clip.create_model_from_pretrained
    return lambda kind: made.get(kind) or made.setdefault(kind, load(f"local-dir:{folders(kind)}"))


def picture(height, width):
    pixels = np.random.default_rng(0).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.BICUBIC)


def as_tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 127.5 - 1


def seen_by(encoder, images):
    """What the vision network is given."""
    seen = []
    hook = encoder.model.visual.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    encoder.encode_images(images)
    hook.remove()
    return seen[0]


def refusal(name):
    with pytest.raises(UserError) as caught:
        load_clip(f"{OPEN_CLIP}{name}")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_is_loaded_frozen_in_float32(kind, encoders):
    encoder, network = encoders(kind), NETWORKS[kind]
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in encoder.parameters())
    assert not any(module.training for module in encoder.train().modules())
    assert (encoder.embed_dim, encoder.resolution, encoder.context_length) == (
        network["embed_dim"], network["vision_cfg"]["image_size"], network["text_cfg"]["context_length"],
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_open_clip_s_and_not_of_unit_length(kind, encoders, library):
    model, preprocess = library(kind)
    model.eval()
    encoder = encoders(kind)
    image = picture(encoder.resolution, encoder.resolution)
    tokens = torch.tensor([encoder._tokens(sentence) for sentence in SENTENCES])
    with torch.no_grad():
        expected_image = model.encode_image(preprocess(image)[None], normalize=False)
        expected_text = model.encode_text(tokens, normalize=False)
    image_features, text_features = encoder.encode_images(as_tensor(image)), encoder.encode_text(SENTENCES)
    assert image_features.shape == (1, encoder.embed_dim) and text_features.shape == (2, encoder.embed_dim)
    torch.testing.assert_close(image_features, expected_image, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(text_features, expected_text, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(image_features.norm(dim=1), torch.ones(1), atol=0.01)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (1.5, 1.5), (0.75, 1.25), (2, 0.5)])
def test_images_are_prepared_as_open_clip_prepares_them(kind, size, encoders, library):
    encoder, (_, preprocess) = encoders(kind), library(kind)
    image = picture(*(round(length * encoder.resolution) for length in size))
    found, expected = seen_by(encoder, as_tensor(image))[0], preprocess(image)
    assert found.shape == expected.shape
    # The library rounds to grey levels and clips what a bicubic overshoots. A level is 1 / 255 over the deviation.
    level = 1 / 255 / min(PREPARATIONS[kind]["std"])
    assert (found - expected).abs().median() < level
    assert (found - expected).abs().mean() < 2 * level


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_the_images_alone(kind, encoders):
    encoder = encoders(kind)
    images = torch.rand(2, 3, 48, 48, requires_grad=True)
    encoder.encode_images(images).square().sum().backward()
    assert images.grad.isfinite().all() and images.grad.abs().sum() > 0
    assert all(p.grad is None for p in encoder.parameters())


@pytest.mark.parametrize("kind", ["ResNet", "ViT", "MobileCLIP", "CoCa"])
def test_clip_s_tokens_are_open_clip_s(kind, encoders, folders):
    expected = open_clip.get_tokenizer(f"local-dir:{folders(kind)}")(SENTENCES)
    assert [encoders(kind)._tokens(sentence) for sentence in SENTENCES] == expected.tolist()


def test_siglip_s_tokens_are_its_own(encoders, folders):
    tokenizer = tokenizers.Tokenizer.from_file(str(folders("SigLIP") / "tokenizer.json"))
    tokenizer.no_truncation()
    ids = tokenizer.encode("a photo of a smiling person").ids
    assert ids[-1] == 1 and tokenizer.token_to_id("<unk>") not in ids and len(ids) < 12
    # Lower case and no punctuation, which is SigLIP's way; then its end, which fills up too.
    found = encoders("SigLIP")._tokens("A photo, of a SMILING  person!")
    assert found == ids + [1] * (12 - len(ids))


@pytest.mark.parametrize("kind", KINDS)
def test_a_sentence_too_long_is_quoted(kind, encoders):
    encoder = encoders(kind)
    own = 1 if kind == "SigLIP" else 2  # tokens that mark start and end
    longest = " ".join(["a"] * (encoder.context_length - own))
    assert encoder.encode_text([longest]).shape == (1, encoder.embed_dim)
    too_long = f"'{longest[:30]}.* is too long .* up to {encoder.context_length - own} tokens"
    with pytest.raises(UserError, match=too_long):
        encoder.encode_text(["a", longest + " a"])


# --- folders that say what cannot be


@pytest.mark.parametrize("part, changed, said", [
    ("preprocess_cfg", {"mean": [0.5, "0.5", 0.5]}, "how images are prepared"),
    ("preprocess_cfg", {"std": [0, 1, 1]}, "how images are prepared"),
    ("preprocess_cfg", {"mean": 0.5}, "how images are prepared"),
    ("model_cfg", {"vision_cfg": {"image_size": 32, "layers": 200, "width": 19_200, "patch_size": 16}}, "which takes"),
    ("model_cfg", {"text_cfg": {"vocab_size": "many"}}, "must be tuple of ints"),
    ("model_cfg", {"vision_cfg": {"image_size": 10**6, "layers": 1, "width": 64, "patch_size": 16}}, "image_size"),
    ("model_cfg", {"vision_cfg": {"image_size": 32, "timm_model_name": "hf-hub:nobody/net"}}, "not one of timm's"),
    ("model_cfg", {"vision_cfg": {"image_size": 32, "timm_model_name": "resnet18", "timm_model_pretrained": True}},
     "not in its folder"),
])  # fmt: skip
def test_a_folder_is_refused_before_anything_is_fetched_or_built(part, changed, said, folders, tmp_path, capfd):
    settings = copy_of(folders("ViT"), tmp_path)
    content = json.loads(settings.read_text())
    content[part] |= changed
    settings.write_text(json.dumps(content))
    assert said in refusal(tmp_path)
    assert capfd.readouterr() == ("", "")


def copy_of(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path / "open_clip_config.json"


@pytest.mark.parametrize("clean", ["evil", 5, ["lower"]])
def test_a_way_of_cleaning_that_open_clip_does_not_know_is_refused(clean, folders, tmp_path):
    settings = copy_of(folders("SigLIP"), tmp_path)
    content = json.loads(settings.read_text())
    content["model_cfg"]["text_cfg"]["tokenizer_kwargs"]["clean"] = clean
    settings.write_text(json.dumps(content))
    assert f"is to be cleaned by {quoted(clean)}" in refusal(tmp_path)


def test_a_tokenizer_with_tokens_that_the_network_does_not_know_is_refused_when_it_uses_them(folders, tmp_path):
    copy_of(folders("SigLIP"), tmp_path)
    unused = [(f"unused{n}", -99.0) for n in range(200)]
    pieces = [("</s>", 0.0), ("<unk>", 0.0), ("b", -9.0), ("▁", -5.0), *unused, ("a", -9.0)]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.Unigram(pieces, unk_id=1))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    encoder = load_clip(f"open_clip:{tmp_path}")
    encoder.encode_text(["b"])
    with pytest.raises(UserError, match="has a token 204, and its network knows 120"):
        encoder.encode_text(["a"])


# --- files of weights, and released ones


@pytest.fixture
def released(register, monkeypatch):
    """released(kind, tag=preparation, ..) -> the kind's small network, of which open_clip lists these weights."""

    def add(kind, **tags):
        name = register(kind)
        tags = {tag: {**preparation, "hf_hub": f"nobody/{kind}/"} for tag, preparation in tags.items()}
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, name, tags)
        return name

    return add


@pytest.fixture
def weights(folders, tmp_path):
    """weights(kind) -> a file of them by themselves, as torch.save writes it."""

    def make(kind):
        from safetensors.torch import load_file

        file = tmp_path / "away" / f"{kind}.pt"
        file.parent.mkdir(exist_ok=True)
        torch.save({"state_dict": load_file(folders(kind) / "open_clip_model.safetensors")}, file)
        return file

    return make


@pytest.mark.parametrize("kind", ["ViT", "SigLIP"])
def test_a_file_is_prepared_for_as_the_released_weights_are(kind, released, weights, encoders):
    name, file = released(kind, web=PREPARATIONS[kind], more=PREPARATIONS[kind]), weights(kind)
    if kind == "SigLIP":
        write_tokenizer(file.parent)
    images = as_tensor(picture(200, 160))
    expected = encoders(kind)
    for spelling in (f"{name}/{file}", f"{name}/web={file}"):
        encoder = load_clip(f"{OPEN_CLIP}{spelling}")
        torch.testing.assert_close(seen_by(encoder, images), seen_by(expected, images))
        torch.testing.assert_close(encoder.encode_images(images), expected.encode_images(images))
        torch.testing.assert_close(encoder.encode_text(SENTENCES), expected.encode_text(SENTENCES))


def test_a_file_of_a_model_whose_released_weights_differ_needs_a_tag(released, weights):
    name, file = released("ViT", one=PREPARATIONS["ViT"], other=PREPARATIONS["SigLIP"]), weights("ViT")
    assert f"{name}/TAG=FILE" in refusal(f"{name}/{file}")
    assert load_clip(f"{OPEN_CLIP}{name}/other={file}").interface.mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("quick", [False, True])
def test_released_weights_that_want_quick_gelu_get_it(quick, released, weights):
    name = released("ViT", web={**PREPARATIONS["ViT"], "quick_gelu": quick})
    encoder = load_clip(f"{OPEN_CLIP}{name}/web={weights('ViT')}")
    found = {type(module).__name__ for module in encoder.modules()}
    assert ("QuickGELU" in found, "GELU" in found) == (quick, not quick)


def test_released_weights_are_taken_from_the_cache_without_a_network(released, folders, tmp_path, monkeypatch):
    name = released("SigLIP", webli=PREPARATIONS["SigLIP"])
    repository = tmp_path / "models--nobody--SigLIP"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / ("0" * 40)).symlink_to(folders("SigLIP"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    encoder = load_clip(f"{OPEN_CLIP}{name}/webli")
    assert encoder.interface.resize_mode == "squash" and encoder.encode_text(SENTENCES).shape == (2, 96)


def test_released_weights_are_downloaded_under_the_name_that_exists(released, weights, monkeypatch):
    name, file, asked = released("ViT", web=PREPARATIONS["ViT"]), weights("ViT"), []

    def metadata(url, timeout):
        asked.append(url.split("/")[-1])
        if url.endswith(".safetensors"):
            raise huggingface_hub.errors.RemoteEntryNotFoundError("no such file", response=MagicMock())

    monkeypatch.setattr(open_clip_encoder, "get_hf_file_metadata", metadata)
    monkeypatch.setattr(open_clip_encoder, "hf_hub_download", lambda repository, name: str(file))
    assert load_clip(f"{OPEN_CLIP}{name}/web").embed_dim == 24
    assert asked == ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"]


def test_a_server_that_does_not_answer_is_given_up_soon(released, tmp_path, monkeypatch):
    name = released("ViT", web=PREPARATIONS["ViT"])
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/{{repo_id}}/{{revision}}/{{filename}}"
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
        monkeypatch.setattr(open_clip_encoder, "DOWNLOAD_TIMEOUT", 0.5)
        before = time.monotonic()
        line = refusal(f"{name}/web")
    assert time.monotonic() - before < 10
    assert "open_clip_model.safetensors" in line and "Timeout" in line
    assert "hf download nobody/ViT --local-dir FOLDER" in line


def test_a_missing_tokenizer_is_told(released, weights, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    file = weights("SigLIP")
    line = refusal(f"{released('SigLIP', web=PREPARATIONS['SigLIP'])}/{file}")
    assert "the tokenizer (tokenizer.json)" in line and f"into {file.parent}" in line


def test_what_does_not_exist_is_told_with_what_does(released, tmp_path):
    name = released("ViT", web=PREPARATIONS["ViT"])
    assert "ViT-B-16-SigLIP" in refusal("ViT-B-16-SigLP/webli")
    assert "webli" in refusal("ViT-B-16-SigLIP/weebli")
    assert "webli" in refusal("ViT-B-16-SigLIP")
    assert str(tmp_path / "gone.pt") in refusal(f"{name}/web={tmp_path / 'gone.pt'}")
    assert "open_clip_config.json is missing" in refusal(tmp_path)
    assert "transformers" in refusal("xlm-roberta-base-ViT-B-32/laion5b_s13b_b90k")


class Hostile:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return open, (str(self.file), "w")


@pytest.mark.parametrize("kind", ["empty", "text", "truncated", "hostile", "other network", "missing weight"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_file_that_holds_no_such_weights(kind, suffix, released, weights, tmp_path):
    name, whole, file = released("ViT", web=PREPARATIONS["ViT"]), weights("ViT"), tmp_path / f"model{suffix}"
    if kind in ("other network", "missing weight"):
        state = {"weight": torch.zeros(2)}
        if kind == "missing weight":
            state = torch.load(whole, weights_only=True)["state_dict"]
            del state["visual.proj"]
        save_file(state, file) if suffix == ".safetensors" else torch.save(state, file)
    elif kind == "hostile":
        torch.save({"state_dict": Hostile(tmp_path / "run")}, file)
    else:
        file.write_bytes({"empty": b"", "text": b"not weights", "truncated": whole.read_bytes()[:100_000]}[kind])
    assert str(file) in refusal(f"{name}/{file}")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "open_clip_config.json"])
@pytest.mark.parametrize("content", ["", "[1]", "{}"])
def test_a_folder_whose_settings_are_broken(name, content, folders, tmp_path):
    for file in folders("SigLIP").iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / name).unlink()
    (tmp_path / name).write_text(content)
    assert str(tmp_path / name) in refusal(tmp_path) or "tokenizer_config.json" in refusal(tmp_path)


def test_a_folder_without_weights(folders, tmp_path):
    (tmp_path / "open_clip_config.json").symlink_to(folders("ViT") / "open_clip_config.json")
    assert f"{tmp_path} has no weights" in refusal(tmp_path)


# --- the command


def test_training_with_siglip(run_warm, folders, tmp_path):
    (tmp_path / "corpus.txt").write_text(" | ".join(SENTENCES))
    clip_model = f"{OPEN_CLIP}{folders('SigLIP')}"
    process = run_warm(
        "train.py", "--gan=stylegan2_portraits64", "--corpus=corpus.txt", "--stylegan-space=W", "--max-iter=2",
        "--batch-size=2", "--loss=cossim", "--num-latent-support-dipoles=2", "--no-cuda", f"--clip-model={clip_model}",
        cwd=tmp_path,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    (experiment,) = (tmp_path / "experiments" / "complete").iterdir()
    args = json.loads((experiment / "args.json").read_text())
    assert (args["clip_model"], args["clip_embed_dim"]) == (clip_model, 96)
    sets = [torch.load(experiment / "models" / f"latent_support_sets{end}.pt", weights_only=True)["SUPPORT_SETS"]
            for end in ("_init", "")]  # fmt: skip
    assert sets[1].isfinite().all() and not torch.equal(*sets)
