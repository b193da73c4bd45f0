"""BigGANs against the published implementations, their files, and their classes."""

import json
import shutil

import numpy as np
import pytest
import torch

from lib.latent_space import latent_space, limit_resolution
from models.biggan import LARGEST_Z, BigGAN, BigGANDeep, TabulatedNorm
from models.class_names import class_indices, imagenet_names, suffix_of
from models.errors import UserError
from models.formats import convert, read_generator
from models.formats.biggan import PUBLISHED
from models.truncated_normal import truncated_normal


@pytest.fixture(scope="module")
def expected(published):
    return published("biggan_deep_tiny")


@pytest.fixture(scope="module")
def codes(tiny_biggan_deep, expected):
    """z and the embeddings of mixtures of classes."""
    return torch.cat([expected["z"], tiny_biggan_deep.embeddings(expected["class_vector"])], dim=1)


@pytest.fixture(scope="module")
def latentclr_codes(tiny_biggan_deep, expected):
    """Codes (1, D), and (1, layers, D) in which each layer has a z of its own."""
    embedding = tiny_biggan_deep.embeddings(expected["latentclr_class_vector"])
    z = expected["z_multi"][:, :1].transpose(0, 1)
    return torch.cat([expected["z"][:1], embedding], dim=1), torch.cat([z, embedding.expand(1, len(z[0]), -1)], dim=2)


# --- what the published implementations compute


def test_deep_class_embedding_and_weights_conform(tiny_biggan_deep, codes, expected, conforms):
    conforms(codes[:, tiny_biggan_deep.z_dim :], expected["class_embedding"])
    conforms(tiny_biggan_deep.generator.gen_z.weight[:64], expected["folded_gen_z"])


@pytest.mark.parametrize("name", ["on_grid", "full", "between", "slip"])
def test_deep_images_conform_at_every_truncation(name, tiny_biggan_deep, codes, expected, conforms):
    images = expected[f"image_{name}"]
    conforms(tiny_biggan_deep(codes, expected[f"truncation_{name}"].item())[: len(images)], images)


@pytest.mark.parametrize("name", ["between", "slip"])
def test_published_interpolation_of_statistics_is_wrong_and_ours_is_not(
    name, tiny_biggan_deep, codes, expected, conforms, monkeypatch
):
    """Theirs takes f of row i and 1 - f of row i + 1, and finds i by a division that rounds."""

    def as_published(norm, truncation):
        step = 1 / (len(norm.running_means) - 1)
        share, row = np.modf(truncation / step)
        row, share = int(row), float(share)
        mean, variance = norm.running_means[row], norm.running_vars[row]
        if share:
            mean, variance = (
                table[row] * share + table[row + 1] * (1 - share) for table in (norm.running_means, norm.running_vars)
            )
        gain = torch.rsqrt(variance + 1e-4)
        return gain, -mean * gain

    truncation = expected[f"truncation_{name}"].item()
    right = tiny_biggan_deep(codes, truncation)[:1]
    monkeypatch.setattr(TabulatedNorm, "normalising", as_published)
    wrong = tiny_biggan_deep(codes, truncation)[:1]
    conforms(wrong, expected[f"image_{name}_as_run"])
    conforms(right, expected[f"image_{name}"])
    assert (right - wrong).abs().max() > 0.1


@pytest.mark.parametrize("rows", [6, 51])
def test_statistics_are_straight_between_rows_and_exact_on_them(rows):
    norm = TabulatedNorm(1, rows)
    norm.running_means.copy_(torch.arange(rows)[:, None])
    for truncation in np.linspace(0.01, 1, 100):
        gain, offset = norm.normalising(truncation)
        assert -offset / gain == pytest.approx(truncation * (rows - 1), rel=1e-5)


def test_features_of_layers_conform(tiny_biggan_deep, latentclr_codes, expected, conforms):
    code, layers_codes = latentclr_codes
    truncation = expected["truncation_on_grid"].item()
    conforms(tiny_biggan_deep.features(code, -1, truncation), expected["feature_gen_z"])
    for layer in range(6):
        conforms(tiny_biggan_deep.features(code, layer, truncation), expected[f"feature_layer_{layer}"])
    conforms((tiny_biggan_deep(code, truncation) + 1) / 2, expected["latentclr_image01"])
    conforms(tiny_biggan_deep.features(layers_codes, 1, truncation), expected["feature_multi_layer_1"])
    conforms((tiny_biggan_deep(layers_codes, truncation) + 1) / 2, expected["latentclr_image01_multi"])


def test_published_bytes_follow_from_the_image(tiny_biggan_deep, codes, expected):
    pixels = ((tiny_biggan_deep(codes, 0.4) + 1) / 2 * 256).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
    assert (pixels.int() - expected["uint8"].int()).abs().max() <= 1


def test_noise_of_a_seed_conforms(expected, conforms):
    for name, truncation in (("z", expected["z_truncation"].item()), ("z_unscaled", 1.0)):
        drawn = np.random.RandomState(expected[f"{name}_seed"].item()).uniform(size=tuple(expected[name].shape))
        conforms(truncated_normal(torch.from_numpy(drawn), LARGEST_Z, truncation), expected[name])


def test_biggan_pytorch_conforms(tiny_biggan, published, conforms):
    expected = published("biggan_pytorch_tiny")
    codes = tiny_biggan.codes(expected["z"], expected["class_index"])
    conforms(codes[:, tiny_biggan.z_dim :], expected["class_embedding"])
    conforms(tiny_biggan.linear.weight[:64], expected["linear_folded"])
    conforms(tiny_biggan.features(codes, 0)[:1], expected["block_0"])
    conforms(tiny_biggan(codes), expected["image"])


def flat(shapes, prefix=""):
    """{a: {b: shape}} -> {"a.b": shape}."""
    joined = {}
    for key, value in shapes.items():
        joined |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: tuple(value)}
    return joined


@pytest.mark.parametrize("name", ["biggan-deep-128", "biggan-deep-256", "biggan-deep-512", "biggan-pytorch-128"])
def test_published_checkpoints_fit(name, data):
    described = json.loads((data / "biggan_state_dict_shapes.json").read_text())
    described = next(value for key, value in described.items() if key.startswith(name))
    shapes = {
        key.replace("weight_orig", "weight"): shape
        for key, shape in flat(described["shapes"]).items()
        if not key.endswith(("weight_u", "weight_v", "u0", "sv0"))
    }
    if name == "biggan-pytorch-128":
        network, options, config = BigGAN, {}, described["config"]
        assert BigGAN.settings(shapes)[:4] == [config["dim_z"], config["shared_dim"], config["n_classes"], [3]]
    else:
        network, config = BigGANDeep, described["config"]
        for part in ("weight", "bias"):
            shape = shapes[f"generator.conv_to_rgb.{part}"]
            shapes[f"generator.conv_to_rgb.{part}"] = (3, *shape[1:])
        options = {"upsampling": "".join("01"[doubles] for doubles, _, _ in config["layers"])}
        assert [width // config["channel_width"] for width in BigGANDeep.settings(shapes)[-1]] in PUBLISHED
        assert options["upsampling"] == "01" * (len(config["layers"]) // 2)
    with torch.device("meta"):
        generator = network(*network.settings(shapes), **options)
        state = {key: torch.empty(shape) for key, shape in shapes.items()}
    generator.load_state_dict(state, strict=True, assign=True)
    assert generator.resolution == config.get("output_dim", config.get("resolution"))


# --- what makes a generator usable: frozen, the same every time, classes that come back


@pytest.mark.parametrize("name", ["tiny_biggan_deep", "tiny_biggan"])
def test_image_depends_on_its_code_alone(name, request):
    generator = request.getfixturevalue(name)
    codes = generator.codes(torch.randn(3, generator.z_dim), torch.tensor([0, 4, 7]))
    images = generator(codes)
    torch.testing.assert_close(generator(codes[1:2]), images[1:2])
    assert torch.equal(generator(codes), images)
    assert not any(parameter.requires_grad for parameter in generator.parameters())
    layers = codes[:, None].expand(-1, generator.num_layers, -1)
    assert torch.equal(generator(layers), images)


@pytest.mark.parametrize("name", ["tiny_biggan_deep", "tiny_biggan"])
def test_classes_of_codes(name, request):
    generator = request.getfixturevalue(name)
    classes = torch.arange(generator.num_classes)
    assert torch.equal(generator.classes(generator.codes(torch.randn(len(classes), generator.z_dim), classes)), classes)


def test_truncation_of_z(tiny_biggan_deep, tiny_biggan):
    z = torch.randn(1000, 16, generator=torch.Generator().manual_seed(0))
    for generator in (tiny_biggan_deep, tiny_biggan):
        small = generator.truncate(z, 0.5)
        assert small.abs().max() <= 1 and torch.equal(small.argsort(dim=0), z.argsort(dim=0))
    assert torch.equal(tiny_biggan.truncate(z, 1.0), z)
    assert tiny_biggan_deep.truncate(z, 1.0).abs().max() <= 2


# --- files


def error_of(file):
    with pytest.raises(UserError) as raised:
        read_generator(file)
    message = str(raised.value)
    assert "\n" not in message and len(message) < 400
    return message


@pytest.fixture
def changed(data, tmp_path):
    """changed("biggan_deep_tiny.bin", change) -> a copy of the file whose state dict `change` was let loose on."""

    def write(name, change):
        state = torch.load(data / name)
        change(state)
        torch.save(state, tmp_path / name)
        shutil.copy(data / "biggan_deep_tiny.json", tmp_path)
        return tmp_path / name

    return write


@pytest.mark.parametrize("target", ["out.pth", "out.safetensors"])
@pytest.mark.parametrize("source", ["biggan_deep_tiny.bin", "biggan_pytorch_tiny.pth"])
def test_converted_biggan_is_the_same(source, target, data, tmp_path):
    convert(data / source, tmp_path / target)
    expected, found = read_generator(data / source), read_generator(tmp_path / target)
    assert type(found) is type(expected) and found.resolution == expected.resolution
    torch.testing.assert_close(found.state_dict(), expected.state_dict(), rtol=0, atol=0)


def test_names_of_classes_are_kept(data, tmp_path):
    generator = read_generator(data / "biggan_pytorch_tiny.pth")
    generator.class_names = "\n".join(f"class, {i}" for i in range(9))
    state = {key: value.clone() for key, value in generator.state_dict().items()}
    torch.save({"generator": state, "class_names": generator.class_names}, tmp_path / "named.pth")
    convert(tmp_path / "named.pth", tmp_path / "named.safetensors")
    for file in ("named.pth", "named.safetensors"):
        assert read_generator(tmp_path / file).names()[3] == "class, 3"
    for names in ("one\ntwo", 7, "\n".join(["\x1b[2J", *"abcdefgh"])):
        torch.save({"generator": state, "class_names": names}, tmp_path / "named.pth")
        assert "class_names" in error_of(tmp_path / "named.pth")


@pytest.mark.parametrize("config", ["biggan_deep_tiny.json", "config.json"])
def test_settings_beside_the_file(config, data, tmp_path):
    shutil.copy(data / "biggan_deep_tiny.bin", tmp_path)
    assert "config.json" in error_of(tmp_path / "biggan_deep_tiny.bin")
    shutil.copy(data / "biggan_deep_tiny.json", tmp_path / config)
    assert read_generator(tmp_path / "biggan_deep_tiny.bin").upsampling == "10010"


def test_settings_of_a_published_name(data, tmp_path):
    shutil.copy(data / "biggan_deep_tiny.bin", tmp_path / "a-pytorch_model.bin")
    shutil.copy(data / "biggan_deep_tiny.json", tmp_path / "a-config.json")
    (tmp_path / "config.json").write_text("{}")
    assert read_generator(tmp_path / "a-pytorch_model.bin").resolution == 16


def with_layers(layers):
    return json.dumps({"channel_width": 4, "layers": layers})


@pytest.mark.parametrize(
    "text, named",
    [
        ("{", "JSON"), ("[" * 100_000, "JSON"), ("[]", "layers"), ("{}", "layers"), ('{"layers": 3}', "layers"),
        (with_layers([[1, 16, 8]]), "layers"), (with_layers([[True, 16, 8]]), "widths"), (" " * (2 << 20), "larger"),
        (with_layers([[True, 16, 8], [False, 8, 8], [False, 8, 4], [True, 4, 4], [False, 2, 1]]), "widths"),
        ('{"eps": 1e-5, "channel_width": 4, "layers": []}', "eps"),
    ],
)  # fmt: skip
def test_settings_of_something_else(text, named, data, tmp_path):
    shutil.copy(data / "biggan_deep_tiny.bin", tmp_path)
    (tmp_path / "config.json").write_text(text)
    assert named in error_of(tmp_path / "biggan_deep_tiny.bin")


DEEP, SHALLOW = "biggan_deep_tiny.bin", "biggan_pytorch_tiny.pth"


@pytest.mark.parametrize(
    "file, key, value",
    [
        (DEEP, "embeddings.weight", None),
        (DEEP, "embeddings.weight", torch.zeros(4)),
        (DEEP, "embeddings.weight", torch.zeros(8, 10)),
        (DEEP, "generator.gen_z.weight_u", None),
        (DEEP, "generator.gen_z.weight_v", torch.zeros(3)),
        (DEEP, "generator.layers.0.conv_1.weight_orig", torch.zeros(())),
        (DEEP, "generator.layers.0.conv_1.weight_orig", torch.zeros(16, 16, 1, 1)),
        (DEEP, "generator.layers.3.conv_3.weight_orig", None),
        (DEEP, "generator.layers.4.bn_0.running_vars", torch.zeros(5, 16)),
        (DEEP, "generator.layers.999999999.gamma", torch.zeros(1)),
        (DEEP, "generator.conv_to_rgb.bias", torch.zeros(())),
        (DEEP, "generator.bn.running_means", torch.zeros(())),
        (DEEP, "generator.bn.extra", torch.zeros(1)),
        (DEEP, "generator.bn.bias", torch.full((4,), torch.nan)),
        (SHALLOW, "shared.weight", None),
        (SHALLOW, "shared.weight", torch.zeros(9, 0)),
        (SHALLOW, "linear.weight", torch.zeros(128, 18)),
        (SHALLOW, "blocks.0.0.conv1.u0", None),
        (SHALLOW, "blocks.0.0.conv1.u0", torch.zeros(1, 9)),
        (SHALLOW, "blocks.0.0.conv1.weight", torch.zeros(())),
        (SHALLOW, "blocks.1.0.conv1.weight", None),
        (SHALLOW, "blocks.1.0.bn1.gain.weight", torch.zeros(8, 6)),
        (SHALLOW, "output_layer.2.weight", torch.zeros(4, 8, 3, 3)),
        (SHALLOW, "blocks.7.1.gamma", torch.zeros(())),
    ],
)
def test_other_networks_are_refused_by_what_differs(file, key, value, changed):
    def change(state):
        if value is None:
            del state[key]
        else:
            state[key] = value

    module = key.rpartition(".")[0].removesuffix(".extra")
    message = error_of(changed(file, change))
    assert module in message or file in message


def test_zero_norm_is_told(changed):
    message = error_of(changed(SHALLOW, lambda state: state["linear.u0"].zero_()))
    assert "linear.weight is not finite" in message


def test_other_content_beside_the_tensors(changed):
    assert "float tensors" in error_of(changed(DEEP, lambda state: state.update({"steps": torch.tensor(3)})))


# --- classes


@pytest.mark.parametrize("text, index", [
    ("207", 207), ("golden retriever", 207), ("Golden_Retriever", 207), ("Bernese mountain dog", 239), ("bulbul", 16),
    ("toilet paper", 999), (" 0 ", 0), ("tinca tinca", 0),
])  # fmt: skip
def test_class_by_number_or_name(text, index):
    assert class_indices([text], imagenet_names()) == [index]


def test_classes_are_sorted_and_each_there_once():
    assert class_indices(["bulbul", "3", "16", "goldfish"], imagenet_names()) == [1, 3, 16]


@pytest.mark.parametrize("text, named", [
    ("crane", "134 (crane) and 517 (crane): give the number"), ("1000", "0 to 999"),
    ("retriever", "207 (golden retriever)"),
    ("-1", "number"), ("unicorn", "imagenet_classes.txt"), ("", "number"),
])  # fmt: skip
def test_class_that_is_not_there_or_not_the_only_one(text, named):
    with pytest.raises(UserError) as raised:
        class_indices([text], imagenet_names())
    assert named in str(raised.value) and "\n" not in str(raised.value)


def test_classes_without_names(tiny_biggan_deep):
    with pytest.raises(UserError, match="numbers only, 0 to 9"):
        class_indices(["cat"], tiny_biggan_deep.names())
    assert class_indices(["9"], tiny_biggan_deep.names()) == [9]


def test_imagenet_has_a_thousand_classes():
    names = imagenet_names()
    assert len(names) == 1000 and all(name.isascii() and name for name in names)


# --- the space Z, whose codes hold a class


@pytest.mark.parametrize("name", ["tiny_biggan_deep", "tiny_biggan"])
def test_class_stays_where_the_code_is_shifted(name, request):
    generator = request.getfixturevalue(name)
    space = latent_space(generator, "Z", truncation=0.8)
    z = torch.randn(40, generator.z_dim, generator=torch.Generator().manual_seed(0))
    codes, offsets = space.codes_of(z), torch.randn(40, space.dim)
    moved = space.shift(codes, offsets)
    assert space.dim == generator.z_dim and codes.shape == (40, space.stored_dim)
    torch.testing.assert_close(space.positions(codes), generator.truncate(z, 0.8))
    torch.testing.assert_close(space.positions(moved), space.positions(codes) + offsets)
    assert torch.equal(moved[:, generator.z_dim :], codes[:, generator.z_dim :])
    assert torch.equal(generator.classes(moved), generator.classes(codes))
    assert torch.equal(space.synthesise(codes), generator(codes, 0.8))


def test_class_follows_from_z(tiny_biggan_deep):
    z = torch.randn(3000, tiny_biggan_deep.z_dim, generator=torch.Generator().manual_seed(0))
    classes = tiny_biggan_deep.classes(latent_space(tiny_biggan_deep).codes_of(z))
    counts = classes.bincount(minlength=10)
    assert counts.min() > 240 and counts.max() < 360  # 300 each, within 4 standard deviations
    order = torch.randperm(3000)
    assert torch.equal(tiny_biggan_deep.classes(latent_space(tiny_biggan_deep).codes_of(z[order])), classes[order])
    for k in range(10):  # z says nothing of its class
        assert z[classes == k].mean(dim=0).abs().max() < 0.25
    small = torch.zeros(50, 4) + torch.arange(50)[:, None] * 1e-3
    assert len(tiny_biggan_deep.classes(latent_space(tiny_biggan_deep).codes_of(small)).unique()) > 7


@pytest.mark.parametrize("classes, expected", [(["7"], [7]), ([2, 5], [2, 5]), (None, [*range(10)])])
def test_codes_are_of_the_target_classes(classes, expected, tiny_biggan_deep):
    space = latent_space(tiny_biggan_deep, classes=classes)
    codes = space.codes_of(torch.randn(200, tiny_biggan_deep.z_dim))
    assert space.classes == expected and tiny_biggan_deep.classes(codes).unique().tolist() == expected


def test_spaces_and_classes_that_are_not_there(tiny_biggan_deep, tiny_pggan):
    for name in ("W", "W+", "S"):
        with pytest.raises(UserError, match=f"no space {name}"):
            latent_space(tiny_biggan_deep, name)
    with pytest.raises(UserError, match="0 to 9"):
        latent_space(tiny_biggan_deep, classes=["10"])
    with pytest.raises(UserError, match="leave out --biggan-target-classes"):
        latent_space(tiny_pggan, classes=["1"])
    with pytest.raises(UserError, match="leave it out with a BigGANDeep"):
        limit_resolution(latent_space(tiny_biggan_deep), 8)


@pytest.mark.parametrize("classes, suffix", [
    (None, ""), ([239], "-class239"), ([1, 2, 3], "-classes1+2+3"), (list(range(7)), "-classes7-"),
])  # fmt: skip
def test_names_of_directories(classes, suffix):
    found = suffix_of(classes)
    assert found.startswith(suffix) and len(found) < 30 and found != suffix_of([8])
    assert classes is None or len(classes) < 7 or found != suffix_of([*range(1, 8)])
