"""Mappers: the published networks' numbers, layouts and files."""

import json

import pytest
import torch

from lib.latent_space import latent_space, whole_space
from lib.methods.text_edits import read_checkpoint
from lib.paths.mappers import (
    GROUPS,
    CounterfactualMapper,
    LevelsMapper,
    Mappers,
    SingleMapper,
    StylesMapper,
)
from models.errors import UserError

WIDTH = 16


def network_of(file, build):
    """A network with the tensors of a published checkpoint."""
    state = read_checkpoint(file).state
    prefix = "" if any(key.startswith("text_mapper") for key in state) else "mapper."
    network = build()
    network.load_state_dict({key.removeprefix(prefix): tensor for key, tensor in state.items()}, strict=False)
    assert {key.removeprefix(prefix) for key in state} <= {*network.state_dict()}
    return network


def edits(network, w):
    return network(w.flatten(1)).view_as(w)


def without(network, group):
    delattr(network, f"{group}_mapping")
    return network


def levels(data):
    return network_of(data / "styleclip" / "mapper_levels.pt", lambda: LevelsMapper(WIDTH, "layers"))


def test_levels_mapper_conforms(data, published, conforms):
    recorded = published("styleclip/mapper")
    conforms(edits(levels(data), recorded["w"]), recorded["levels_delta"])
    conforms(edits(levels(data), recorded["w_same"]), recorded["levels_delta_same"])
    paths = Mappers([levels(data)], "layers")
    w_hat = recorded["w"].flatten(1) + paths(recorded["w"].flatten(1), torch.zeros(3, dtype=torch.long))
    conforms(w_hat.view_as(recorded["w"]), recorded["levels_w_hat"])


@pytest.mark.parametrize("group, name", [("course", "coarse"), ("medium", "medium"), ("fine", "fine")])
def test_group_that_is_left_out_stays(group, name, data, published, conforms):
    recorded = published("styleclip/mapper")
    conforms(edits(without(levels(data), group), recorded["w"]), recorded[f"levels_delta_no_{name}"])
    recorded = published("cfclip/mapper")
    network = counterfactual(data, recorded)
    without(network.mapper, group)
    conforms(edits(network, recorded["w"]), recorded[f"delta_no_{name}"])


def test_single_mapper_conforms(data, published, conforms):
    recorded = published("styleclip/mapper")
    network = network_of(data / "styleclip" / "mapper_single.pt", lambda: SingleMapper(WIDTH, "layers"))
    conforms(edits(network, recorded["w"]), recorded["single_delta"])
    conforms(recorded["w"] + 0.1 * edits(network, recorded["w"]), recorded["single_w_hat"])


def test_styles_mapper_conforms(data, published, conforms):
    """Their style vectors stand in the order of computation, where every third one is an RGB layer's."""
    recorded = published("styleclip/mapper")
    vectors = recorded["styles"].split(recorded["style_widths"].tolist(), dim=1)
    convolutions = [i for i in range(len(vectors)) if i % 3 != 1]
    widths = [vectors[i].shape[1] for i in convolutions]
    network = network_of(data / "styleclip" / "mapper_styles.pt", lambda: StylesMapper(widths))
    found = network(torch.cat([vectors[i] for i in convolutions], dim=1))
    parts = dict(zip(convolutions, found.split(widths, dim=1)))
    delta = torch.cat([parts.get(i, torch.zeros_like(vector)) for i, vector in enumerate(vectors)], dim=1)
    conforms(delta, recorded["styles_delta"])
    conforms(recorded["styles"] + 0.1 * delta, recorded["styles_hat"])


def counterfactual(data, recorded):
    text = recorded["text_feature"][0]
    network = network_of(data / "cfclip" / "mapper.pt",
                         lambda: CounterfactualMapper(WIDTH, "layers", tuple(GROUPS), 10, text))  # fmt: skip
    assert torch.equal(network.text, text)
    return network


def test_counterfactual_mapper_conforms(data, published, conforms):
    recorded = published("cfclip/mapper")
    network, w = counterfactual(data, recorded), recorded["w"]
    text = network.text_mapper(network.text[None]).expand_as(w)
    conforms(text, recorded["t_w"])
    conforms(network.mapper.fuse(w, text), recorded["fused"])
    conforms(edits(network, w), recorded["delta"])
    conforms(edits(network, recorded["w_same"]), recorded["delta_same"])
    conforms(w + 0.1 * edits(network, w), recorded["w_hat"])


def test_published_norm_sees_only_signs_of_codes_whose_layers_are_the_same(data):
    """The slip that StyleCLIP's issue 82 asks about; normalised over the channels a code's numbers count."""
    w = torch.randn(1, 1, WIDTH, generator=torch.Generator().manual_seed(0)).expand(-1, 10, -1)
    other = w.sign() * (w.abs() + 1)
    network = levels(data)
    torch.testing.assert_close(edits(network, w), edits(network, other), rtol=1e-4, atol=1e-4)
    right = LevelsMapper(WIDTH, "channels")
    right.load_state_dict(network.state_dict())
    assert (edits(right, w) - edits(right, other)).abs().max() > 0.1 * edits(right, w).abs().max()


@pytest.mark.parametrize(
    "file, name, build",
    [
        ("styleclip", "LevelsMapper", lambda: LevelsMapper(512, "layers")),
        ("styleclip", "SingleMapper", lambda: SingleMapper(512, "layers")),
        ("styleclip", "StyleSpace 1024",
         lambda: StylesMapper([512] * 10 + [256] * 2 + [128] * 2 + [64] * 2 + [32])),
        ("cfclip", "stylegan_size_1024", lambda: CounterfactualMapper(512, "layers", [*GROUPS], 18, torch.zeros(512))),
        ("cfclip", "stylegan_size_256", lambda: CounterfactualMapper(512, "layers", [*GROUPS], 14, torch.zeros(512))),
    ],
)  # fmt: skip
def test_networks_of_published_sizes_have_the_published_layout(file, name, build, data):
    expected = json.loads((data / file / "state_dict_shapes.json").read_text())[name]
    with torch.device("meta"):
        network = build()
    prefix = "" if file == "cfclip" else "mapper."
    found = {f"{prefix}{key}": list(tensor.shape) for key, tensor in network.state_dict().items() if key != "text"}
    assert found == expected


# --- paths of several networks, and their state


@pytest.fixture
def space(tiny_stylegan2):
    return whole_space(latent_space(tiny_stylegan2, "W+", 3))


def drawn(networks, norm="channels"):
    return Mappers(networks, norm).draw_weights(torch.Generator().manual_seed(0))


def test_each_item_goes_through_its_own_network(space):
    paths = drawn([LevelsMapper(32, "channels") for _ in range(3)])
    x, indices = torch.randn(4, space.dim, generator=torch.Generator().manual_seed(1)), torch.tensor([2, 0, 2, 1])
    found = paths(x, indices)
    for item, k in enumerate(indices.tolist()):
        torch.testing.assert_close(found[item], 0.1 * paths.mappers[k](x[item : item + 1])[0])
    assert paths.num_paths == 3 and not torch.isclose(found[0], found[2]).all()


@pytest.mark.parametrize("groups", [["course", "medium", "fine"], ["medium"]])
@pytest.mark.parametrize("kind", ["levels", "single", "styles", "counterfactual"])
@pytest.mark.parametrize("norm", ["channels", "layers"])
def test_state_dict_says_the_networks(kind, norm, groups, space, tiny_stylegan2, tmp_path):
    if kind == "styles":
        space = whole_space(latent_space(tiny_stylegan2, "S", 3))
    build = {
        "levels": lambda: LevelsMapper(32, norm, groups),
        "single": lambda: SingleMapper(32, norm),
        "styles": lambda: StylesMapper([32] * 6 + [16, 16, 8]),
        "counterfactual": lambda: CounterfactualMapper(32, norm, groups, 10, torch.randn(24)),
    }[kind]
    paths = drawn([build() for _ in range(2)], norm)
    torch.save(paths.state_dict(), tmp_path / "mappers.pt")
    state = torch.load(tmp_path / "mappers.pt", weights_only=True)
    again = Mappers.from_state(state, space, "mappers.pt", counterfactual=kind == "counterfactual")
    x = torch.randn(2, space.dim, generator=torch.Generator().manual_seed(1))
    assert torch.equal(again(x, torch.tensor([0, 1])), paths(x, torch.tensor([0, 1])))


def test_state_dict_that_does_not_fit_is_refused(space, tiny_stylegan2):
    state = drawn([LevelsMapper(32, "channels")]).state_dict()
    for wrong, said in [
        ({}, "does not hold mappers"),
        (state | {"_extra_state": {"norm": "rows"}}, "does not hold mappers"),
        (state | {"mappers.0.fine_mapping.mapping.1.bias": torch.zeros(3)}, "fine_mapping.mapping.1.bias is \\(3,\\)"),
        ({key: value for key, value in state.items() if not key.endswith("mapping.2.bias")}, "mapping.2.bias is miss"),
        (state | {"mappers.0.course_mapping.mapping.1.bias": torch.full((32,), torch.nan)}, "not finite"),
    ]:
        with pytest.raises(UserError, match=f"m.pt .*{said}"):
            Mappers.from_state(wrong, space, "m.pt")
    with pytest.raises(UserError, match="networks of styleclip-mapper, not of cf-clip"):
        Mappers.from_state(state, space, "m.pt", counterfactual=True)
    with pytest.raises(UserError, match="W\\+ or S, not W"):
        Mappers.from_state(state, latent_space(tiny_stylegan2, "W"), "m.pt")


def test_mappers_whose_state_is_not_of_tensors_alone_are_trained_by_the_command(
    data, tiny_clip_file, run_warm, tmp_path
):
    process = run_warm("train.py", f"--gan={data / 'stylegan2_tiny.pth'}", f"--clip-model={tiny_clip_file}",
                       "--no-cuda", "--corpus=expressions3", "--method=styleclip-mapper", "--max-iter=1",
                       cwd=tmp_path)  # fmt: skip
    assert process.returncode == 0 and "trained: " in process.stdout, process.stderr
