"""Every reader of strangers' files: valid files for it to be mutated, and how it is called."""

import io
import json
import tempfile
from pathlib import Path

import torch
from command_readers import COMMAND_READERS
from reader import DATA, Reader, first, saved
from small_networks import EMBEDDING, NETWORKS, small_clip, small_clip_model


def _files(*names):
    return {name: {Path(name).name: (DATA / name).read_bytes()} for name in names}


class Generators(Reader):
    def seeds(self):
        from nvidia_pickles import tiny_pickle

        from models.formats import genforce, read_generator, safetensors

        tiny = read_generator(DATA / "pggan_tiny.pth")
        legacy = saved(genforce.content(tiny), _use_new_zipfile_serialization=False)
        with tempfile.TemporaryDirectory() as folder:
            nvidia = tiny_pickle(DATA, Path(folder) / "tiny.pkl").read_bytes()
        rosinality = torch.load(DATA / "rosinality_tiny.pt", weights_only=True)
        del rosinality["latent_avg"]
        made = {
            "legacy": {"legacy.pth": legacy},
            "safetensors": {"tiny.safetensors": safetensors.content(tiny)},
            "nvidia": {"tiny.pkl": nvidia},
            "without a mean": {"tiny.pt": saved(rosinality)},
            "settings": {"config.json": (DATA / "biggan_deep_tiny.json").read_bytes(),
                         "biggan_deep_tiny.bin": (DATA / "biggan_deep_tiny.bin").read_bytes()},
        }  # fmt: skip
        dcgan = {f"main.{3 * i}.weight": torch.randn(a, b, 4, 4) for i, (a, b) in enumerate([(8, 8), (8, 3)])}
        dcgan |= {f"main.1.{key}": torch.rand(8) for key in ("weight", "bias", "running_mean", "running_var")}
        made["dcgan"] = {"dcgan.pt": saved(dcgan)}
        names = ("stylegan2_tiny.pth", "pggan_tiny.pth", "rosinality_tiny.pt", "biggan_pytorch_tiny.pth")
        return made | _files(*names)

    def read(self, directory, file):
        from models.load_generator import load_generator

        weights = next(path for path in directory.iterdir() if path.suffix != ".json")
        generator = load_generator(weights)
        if generator.resolution <= 128:
            code = torch.zeros(1, generator.z_dim)
            if generator.family.conditional:
                code = generator.codes(code, torch.tensor([0]))
            generator.from_z(code, 0.7 if generator.family.truncates else 1)


class Clips(Reader):
    def seeds(self):
        import warnings

        made = {kind: {f"{kind}.pt": saved(small_clip(kind))} for kind in NETWORKS}
        file = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            texts, images = torch.zeros(1, 77, dtype=torch.long), torch.zeros(1, 3, 32, 32)
            traced = torch.jit.trace(small_clip_model("transformer"), (images, texts), check_trace=False)
            torch.jit.save(traced, file)
        return made | {"script": {"script.pt": file.getvalue()}}

    def read(self, directory, file):
        from models.clip_encoder import load_clip

        encoder = load_clip(file)
        encoder.encode_text(["a face"])
        encoder.encode_images(torch.zeros(1, 3, 64, 64))


class Codes(Reader):
    def seeds(self):
        return {"w+": {"w+.pt": saved(torch.randn(2, 10, 32))}, "w": {"w.pt": saved(torch.randn(3, 32))}}

    def read(self, directory, file):
        from lib.pools import code_hash, read_w_plus

        code_hash(read_w_plus(file, _tiny()))


def _tiny(cache={}):  # noqa: B006
    from models.load_generator import load_generator

    if not cache:
        cache["generator"] = load_generator(DATA / "stylegan2_tiny.pth")
    return cache["generator"]


class Arrays(Reader):
    def seeds(self):
        import numpy as np

        made = {}
        for kind in ("<f4", ">f8", "<i8", "|u1"):
            file = io.BytesIO()
            np.save(file, np.arange(24, dtype=kind).reshape(4, 6))
            made[kind] = {"array.npy": file.getvalue()}
        return made

    def read(self, directory, file):
        from models.untrusted.numpy_files import load_array

        load_array(file).isfinite().all()


class Corpora(Reader):
    def seeds(self):
        pairs = [[f"a face {i}", f"another face {i}"] for i in range(20)]
        return {
            "json": {"c.json": json.dumps(pairs, indent=1).encode()},
            "text": {"c.txt": "\n".join("|".join(poles) for poles in pairs).encode()},
        }

    def read(self, directory, file):
        from lib.dipoles import load_corpus

        load_corpus(file)


class Experiments(Reader):
    """What `open_experiment` reads of a directory: its settings, sentences and weights."""

    DIRECTORY = DATA / "layout1" / "complete"

    def seeds(self):
        names = "args.json", "models/semantic_dipoles.json", "models/latent_support_sets.pt"
        return first({name: (self.DIRECTORY / name).read_bytes() for name in names}, names)

    def read(self, directory, file):
        from lib.trained import open_experiment

        open_experiment(directory, DATA / "stylegan2_tiny.pth")


STYLES = dict(zip((0, 2, 3, 5, 6, 8, 9, 11, 12), [32] * 6 + [16, 16, 8]))  # widths of convolutions, by number


class Checkpoints(Reader):
    """What other projects leave of their methods, for the tiny generator, whose codes have 32 dimensions."""

    def seeds(self):
        from lib.paths.networks import GlobalDirections, NetworkDirections

        self.place = tempfile.TemporaryDirectory()
        self.clip = Path(self.place.name) / "clip.pt"
        self.clip.write_bytes(saved(small_clip("transformer")))
        levels = _perceptrons({f"mapper.{group}_mapping": 32 for group in ("course", "medium", "fine")})
        texts = _perceptrons({f"text_mapper.mapper_{i}": 32 for i in range(10)}, inputs=EMBEDDING)
        mappers = {
            "levels": levels,
            "single": _perceptrons({"mapper.mapping": 32}),
            "styles": _perceptrons({f"mapper.mapper_{i}": width for i, width in STYLES.items()}),
            "counterfactual": {**levels, **texts, "mapper.fc.weight": torch.randn(32, 64),
                               "mapper.fc.bias": torch.randn(32)},
        }  # fmt: skip
        options = {"description": "purple hair", "lr": 0.5, "no_fine_mapper": False}
        made = {name: {f"{name}.pt": saved({"state_dict": state, "opts": options})} for name, state in mappers.items()}
        kinds = {"directions": GlobalDirections(5, 32), "networks": NetworkDirections(3, 32, 2)}
        projector = {"0.weight": torch.randn(4, 4)}
        for name, model in kinds.items():
            made[name] = {f"{name}.pt": saved({"model": model.state_dict(), "projector": projector})}
        return made | self._warpedganspace()

    def _warpedganspace(self):
        from lib.paths.support_sets import WeightedSupportSets

        sets = WeightedSupportSets.random(4, 2, 32, 0.01, torch.Generator().manual_seed(0)).state_dict()
        args = {"gan_type": "StyleGAN2", "stylegan2_resolution": 64, "shift_in_w_space": True, "gamma": None,
                "reconstructor_type": "ResNet", "learn_gammas": False, "batch_size": 2}  # fmt: skip
        files = {"args.json": json.dumps(args).encode(), "models/support_sets.pt": saved(sets)}
        return {f"warpedganspace {name}": one for name, one in first(files, files).items()}

    def read(self, directory, file):
        from unittest.mock import patch

        from lib.trained import open_experiment

        with patch("lib.methods.cf_clip.PUBLISHED_CLIP", self.clip):
            path = directory if (directory / "models").exists() else file
            opened = open_experiment(path, DATA / "stylegan2_tiny.pth")
        code = opened.space.codes_of(torch.zeros(1, 32))
        opened.paths(opened.space.positions(code), torch.tensor([0]))


class Directions(Reader):
    """Files of directions of any kind, for the tiny generator."""

    def seeds(self):
        import numpy as np
        import safetensors.torch

        directions = torch.nn.functional.normalize(torch.randn(3, 32), dim=1)
        ours = {"directions": directions.numpy(), "lengths": np.ones(3, np.float32), "names": np.array(["a", "b", "c"]),
                "space": np.array("W"), "truncation": np.array(0.7), "gan": np.array("tiny"),
                "gan_sha256": np.array("0" * 64)}  # fmt: skip
        stored, packed, single = io.BytesIO(), io.BytesIO(), io.BytesIO()
        np.savez(stored, **ours)
        np.savez_compressed(packed, **ours)
        np.save(single, directions.numpy())
        return {
            "npz": {"d.npz": stored.getvalue()},
            "packed": {"d.npz": packed.getvalue()},
            "npy": {"d.npy": single.getvalue()},
            "pt": {"d.pt": saved({"directions": directions})},
            "safetensors": {"d.safetensors": safetensors.torch.save({"directions": directions})},
        }

    def read(self, directory, file):
        from lib.methods.direction_files import paths_of, read_directions, space_of

        found = read_directions(file)
        space_of(found, file, _tiny(), None if found.space else "W")
        paths_of(found)


def _perceptrons(widths, inputs=None):
    """The tensors of {name: width}, each of four layers. inputs: the width of what the first one takes, if another."""
    state = {}
    for name, width in widths.items():
        for i in range(1, 5):
            taken = inputs if inputs and i == 1 else width
            state |= {f"{name}.mapping.{i}.weight": torch.randn(width, taken),
                      f"{name}.mapping.{i}.bias": torch.randn(width)}  # fmt: skip
    return state


class Graphs(Reader):
    """Judges' .onnx files, as far as they are read and not computed."""

    def seeds(self):
        from onnx import TensorProto, helper, numpy_helper

        node = helper.make_node("Gemm", ["x", "w"], ["y"])
        weight = numpy_helper.from_array(torch.zeros(4, 2).numpy(), "w")
        ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, n]) for name, n in (("x", 4), ("y", 2))]
        graph = helper.make_graph([node], "g", ports[:1], ports[1:], [weight])
        return {"gemm": {"judge.onnx": helper.make_model(graph).SerializeToString()}}

    def read(self, directory, file):
        from models.untrusted.onnx_graph import read_graph

        read_graph(file.read_bytes(), file)


class Looks(Reader):
    """The explorer's, as JSON and as links."""

    def seeds(self):
        from lib.exploring.looks import Look, Sentences, Start

        drawn = Look("5" * 64, Start.of_seed(3, 0.7)).moved({"0123456789ab-0": 1.5, "own-0123456789ab": -0.25})
        drawn = drawn.saying([Sentences("a happy face", "a sad face")])
        given = drawn.at(Start.of_code(torch.randn(1, 10, 32)))
        return {"json": {"look.json": drawn.to_json().encode()}, "code": {"look.json": given.to_json().encode()},
                "link": {"look.txt": drawn.to_link().encode()}, "long link": {"look.txt": given.to_link().encode()}}

    def read(self, directory, file):
        from lib.exploring.looks import Look

        content = file.read_bytes()
        look = Look.from_json(content) if file.suffix == ".json" else Look.from_link(content.decode("latin-1"))
        if look.start.seed is None:
            look.start.code().sum()
        assert Look.from_link(look.to_link()) == look


class OwnCodes(Reader):
    """The code that a visitor of the explorer brings."""

    def seeds(self):
        codes = {"w+": torch.randn(1, 10, 32), "w": torch.randn(1, 32)}
        return {name: {"code.pt": saved(code)} for name, code in codes.items()}

    def read(self, directory, file):
        from lib.exploring.looks import Look
        from lib.exploring.uploads import read_code

        look = Look("5" * 64, read_code(file.read_bytes(), "code.pt", 0.7))
        assert Look.from_link(look.to_link()) == look


class Archives(Reader):
    def seeds(self):
        from tar_archives import tar

        files = {"nets/a.pth": bytes(3000), "nets/b.pth": b"x" * 700}
        return {mode: {"nets.tar": tar(files, mode=mode)} for mode in ("w", "w:gz", "w:xz", "w:bz2")}

    @property
    def refusals(self):
        from lib.downloading.archives import ArchiveError

        return (ArchiveError,)

    def read(self, directory, file):
        from lib.downloading.archives import regular_files, unpack

        with regular_files(file, 1 << 30) as files:
            unpack(files, directory / "unpacked")


class Pictures(Reader):
    """Photographs that are to be inverted, with metadata."""

    def seeds(self):
        from PIL import Image

        exif = Image.Exif()
        exif[0x0112] = 6  # lies on its side
        noise = torch.randint(256, (48, 40, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).numpy()
        opaque, clear, made = Image.fromarray(noise[..., :3]), Image.fromarray(noise), {}
        for name, picture, kind, options in (
            ("jpeg", opaque, "JPEG", {}),
            ("progressive", opaque, "JPEG", {"progressive": True}),
            ("cmyk", opaque.convert("CMYK"), "JPEG", {}),
            ("png", clear, "PNG", {}),
            ("palette", opaque.quantize(16), "PNG", {"transparency": 3}),
            ("webp", clear, "WEBP", {}),
            ("animation", opaque, "WEBP", {"save_all": True, "append_images": [opaque.rotate(90)]}),
        ):
            file = io.BytesIO()
            picture.save(file, kind, exif=exif, **options)
            made[name] = {f"{name}.{kind.lower()}": file.getvalue()}
        return made

    def read(self, directory, file):
        from models.untrusted.pictures import load_picture

        load_picture(file, enough=16)


READERS = {
    "generators": Generators, "clips": Clips, "codes": Codes, "arrays": Arrays, "corpora": Corpora,
    "experiments": Experiments, "checkpoints": Checkpoints, "directions": Directions, "graphs": Graphs,
    "archives": Archives, "looks": Looks, "own codes": OwnCodes, "pictures": Pictures, **COMMAND_READERS,
}  # fmt: skip
