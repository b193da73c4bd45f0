"""Readers of what the commands work in or on: runs that go on, pools, evaluations, servers, judges, open_clip's models.

Those that work in a directory do so by the command itself, in this process.
"""

import contextlib
import io
import json
import os
import shutil
import socket
import tempfile
import threading
from pathlib import Path
from unittest.mock import patch

import torch
from reader import DATA, Reader, first, saved
from small_networks import small_clip

GAN = f"--gan={DATA / 'stylegan2_tiny.pth'}"
# Where the answers of a server may go: what a file of unknown length may have at most is 8 GiB in earnest.
MOST_UNSTATED = 1 << 20  # bytes
REPEATED = 0x444 + 7  # bytes at the end of an answer that never ends: of a chunk with its frame

# What kinds of run there are: {name: arguments}.
RUNS = {
    "paired": ["--path=lines"],
    "sets": ["--loss=cossim", "--num-latent-support-dipoles=2"],
    "warpedganspace": ["--method=warpedganspace", "--num-support-sets=2", "--num-support-dipoles=2",
                       "--reconstructor-type=LeNet"],
}  # fmt: skip
# A judge's images and numbers.
SIDE = 8
DESCRIPTION = {"side": SIDE, "range": [0, 255], "names": ["red", "green", "blue"], "units": "of 255",
               "features": "mixed"}  # fmt: skip
JUDGE_PATIENCE = 10  # seconds, in place of a minute
# Networks of open_clip.
VIT = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1},
}
OWN_TOKENS = VIT | {"text_cfg": VIT["text_cfg"] | {"context_length": 12, "vocab_size": 40,
                                                  "hf_tokenizer_name": "nobody/tiny",
                                                  "tokenizer_kwargs": {"clean": "canonicalize"}}}  # fmt: skip
PREPARATION = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "shortest"}


class Refused(Exception):
    """The line that a command was refused with."""


@contextlib.contextmanager
def _at_work(directory):
    """For a command in this process: its working directory, and nothing on the terminal."""
    with contextlib.chdir(directory), open(os.devnull, "w") as nowhere:
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            yield


def _files_below(directory):
    return {path.relative_to(directory).as_posix(): path.read_bytes()
            for path in sorted(directory.rglob("*")) if path.is_file()}


class Runs(Reader):
    """A run that was killed after its first checkpoint, and goes on until its end: its settings, sentences, weights,
    statistics and checkpoint."""

    share = 0.15
    COMMON = (GAN, "--no-cuda", "--stylegan-space=W", "--batch-size=2", "--max-iter=2", "--ckp-freq=1", "--log-freq=1")
    MUTATED = ("args.json", "checkpoint.pt", "_init.pt", "semantic_dipoles.json", "stats.json", "command.sh")

    def seeds(self):
        self.place = tempfile.TemporaryDirectory()
        place = Path(self.place.name)
        words = torch.randn(49408, 64, generator=torch.Generator().manual_seed(0))
        words[-1] = 0  # the mark at the end, from which a sentence is read: so that its words count
        (place / "clip.pt").write_bytes(saved(small_clip("transformer") | {"token_embedding.weight": words.half()}))
        (place / "faces.txt").write_text("a happy face | a sad face\na young face | an old face\n")
        made = {}
        for kind, own in RUNS.items():
            text = [] if kind == "warpedganspace" else [f"--clip-model={place / 'clip.pt'}",
                                                        f"--corpus={place / 'faces.txt'}"]
            arguments = [*self.COMMON, *text, *own]
            files = _files_below(self._interrupted(place / kind, arguments))
            files["arguments.json"] = json.dumps(arguments).encode()
            names = [name for name in files if name.endswith(self.MUTATED)]
            made |= {f"{kind} {Path(name).name}": one for name, one in first(files, names).items()}
        return made

    @staticmethod
    def _interrupted(directory, arguments):
        """A copy of a run's directory as its first checkpoint left it."""
        import train
        from lib.methods import text_start
        from lib.training import trainer

        checkpoint, copy = trainer.checkpoint, directory / "copy"

        def copied(run, experiment):
            checkpoint(run, experiment)
            if not copy.exists():
                shutil.copytree(Path("experiments").absolute(), copy / "experiments")

        directory.mkdir()
        few_images = patch.multiple(text_start, FEATURE_CODES=40, RESPONSE_CODES=4)
        with (few_images, patch.object(trainer, "checkpoint", copied), patch("sys.argv", ["train.py", *arguments]),
              _at_work(directory)):  # fmt: skip
            train.main(arguments)
        for lock in copy.rglob(".lock"):
            lock.unlink()
        return copy

    def read(self, directory, file):
        import train

        arguments = json.loads((directory / "arguments.json").read_bytes())
        with _at_work(directory), patch("sys.argv", ["train.py", *arguments]):
            train.main(arguments)


class Pools(Reader):
    """A pool of sample_gan.py, as a walk reads it."""

    NAMES = ("latent_code_z.pt", "latent_code_w+.pt", "args.json")

    def seeds(self):
        import sample_gan

        with tempfile.TemporaryDirectory() as place, _at_work(place):
            sample_gan.main([GAN, "--num-samples=2", "--no-cuda"])
            (pool,) = Path("experiments/latent_codes/stylegan2_tiny").iterdir()
            files = {f"pool/{name}": content for name, content in _files_below(pool).items()
                     if name.endswith(self.NAMES)}  # fmt: skip
        chosen = {Path(name).name: name for name in files}
        return {name: {path: files[path], **files} for name, path in chosen.items()}

    def read(self, directory, file):
        from lib.latent_space import latent_space
        from lib.pools import code_directories, find_pool, read_code, truncation_of
        from models.files import sha256
        from models.load_generator import load_generator

        space = latent_space(load_generator(DATA / "stylegan2_tiny.pth"), "W")
        pool = find_pool(directory / "pool", "stylegan2_tiny", sha256(DATA / "stylegan2_tiny.pth"))
        truncation_of(pool)
        for code in code_directories(pool):
            for w_space in (False, True):
                space.positions(read_code(code, space, w_space))


class Evaluations(Reader):
    """An evaluation that goes on from what was read before, beside another one, and refreshes the pages."""

    share = 0.06
    WALK = ("--exp=exp", "--pool=stylegan2_tiny-2", "--no-cuda", "--shift-steps=2", "--eps=2")
    JUDGED = (*WALK, "--judge=portraits", "--samples=100", "--steps=2")
    MUTATED = ("summary.json", "key.json", "reach.json", "settings.json", "along", "paths_latent_codes.pt")

    def seeds(self):
        import evaluate
        import sample_gan
        import train
        import traverse_latent_space

        with tempfile.TemporaryDirectory() as place, _at_work(place):
            sample_gan.main([GAN, "--num-samples=2", "--no-cuda"])
            train.main([GAN, "--no-cuda", "--method=sefa", "--num-directions=2", "--stylegan-space=W"])
            (made,) = Path("experiments/complete").iterdir()
            made.rename("exp")
            traverse_latent_space.main([*self.WALK, "--workers=0"])
            evaluate.main([*self.JUDGED])
            files = _files_below(Path(place))
        chosen = {}
        for name in files:
            kind = next((kind for kind in self.MUTATED if kind in name), None)
            if kind:
                chosen.setdefault(kind, name)
        return {kind: {name: files[name], **files} for kind, name in chosen.items()}

    def read(self, directory, file):
        import evaluate

        with _at_work(directory):
            evaluate.main([*self.JUDGED])


class Servers(Reader):
    """What a server answers to download.py: the file holds the bytes of its answer, from the status line on. `after`
    says what it does then: it ends, is silent, or repeats the last bytes for ever."""

    share = 0.25
    allowed = ("socket.connect",)
    refusals = (Refused,)
    CONTENT = (DATA / "pggan_tiny.pth").read_bytes()
    HEAD = "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"

    def _answer(self, head, content=CONTENT, after="end"):
        return {"answer": head.encode() + b"\r\n" + content, "after": after.encode()}

    def seeds(self):
        length = f"Content-Length: {len(self.CONTENT)}\r\n"
        chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(self.CONTENT), self.CONTENT)
        return {
            "plain": self._answer(f'{self.HEAD}{length}ETag: "1"\r\n'),
            "no length": self._answer(self.HEAD),
            "length of 5,000 digits": self._answer(f"{self.HEAD}Content-Length: {'9' * 5000}\r\n"),
            "chunks": self._answer(f"{self.HEAD}Transfer-Encoding: chunked\r\n", chunks),
        }

    def made_by_hand(self):
        length, part = f"Content-Length: {len(self.CONTENT)}\r\n", self.HEAD.replace("200 OK", "206 Partial Content")
        redirection = "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: "
        return {
            "endless": self._answer(self.HEAD, after="repeat"),
            "endless header": self._answer("HTTP/1.1 200 OK\r\nX: ", b"x" * 1000, after="repeat"),
            "endless headers": self._answer("HTTP/1.1 200 OK\r\n" + "X: 1\r\n" * 100_000),
            "endless chunks": self._answer(f"{self.HEAD}Transfer-Encoding: chunked\r\n",
                                           b"444\r\n" + b"x" * 0x444 + b"\r\n", after="repeat"),
            "unasked part": self._answer(f"{part}{length}Content-Range: bytes 0-9/10\r\n"),
            "part without a range": self._answer(f"{part}{length}"),
            "huge range": self._answer(f"{part}{length}Content-Range: bytes {'9' * 5000}-{'9' * 5000}/*\r\n"),
            "huge length": self._answer(f"{self.HEAD}Content-Length: {10**15}\r\n"),
            "negative length": self._answer(f"{self.HEAD}Content-Length: -5\r\n", b""),
            "short": self._answer(f"{self.HEAD}Content-Length: {10**6}\r\n", b"x" * 100),
            "silent": self._answer(self.HEAD, b"", after="silence"),
            "redirection to ftp": self._answer(f"{redirection}ftp://127.0.0.1/x\r\n", b""),
            "redirection to a file": self._answer(f"{redirection}file:///etc/passwd\r\n", b""),
            "redirection to itself": self._answer(f"{redirection}/net.pth\r\n", b""),
            "web page": self._answer("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n", b"<html>"),
            "orders to the terminal": self._answer("HTTP/1.1 404 \x1b[31mred\x07\r\n", b""),
            "nothing": {"answer": b"", "after": b"end"},
        }

    def read(self, directory, file):
        import download

        self._list(directory, (server := _server()).getsockname()[1])
        answer, after = file.read_bytes(), (directory / "after").read_text()
        threading.Thread(target=_serve, args=(server, answer, after), daemon=True).start()
        said = io.StringIO()
        arguments = [f"--to={directory / 'to'}", f"--assets={directory / 'assets.json'}", "--pause=0.001",
                     "--timeout=0.2", "--only=pggan_tiny"]  # fmt: skip
        try:
            with (_at_work(directory), contextlib.redirect_stderr(said),
                  patch("lib.downloading.fetching.MOST_UNSTATED", MOST_UNSTATED)):  # fmt: skip
                download.main(arguments)
        except SystemExit:
            raise Refused(_last_line(said.getvalue())) from None
        finally:
            server.close()
        if remaining := [path.name for path in (directory / "to").rglob("*.part*")]:
            raise AssertionError(f"{remaining} remain")

    @staticmethod
    def _list(directory, port):
        source = {"format": "genforce", "url": f"http://127.0.0.1:{port}/net.pth"}
        assets = {"archives": {"nets": {"unpacks_to": "weights/nets", "files": ["pggan_tiny.pth"]}},
                  "single_files": {"pggan_tiny": [source]}}  # fmt: skip
        (directory / "assets.json").write_text(json.dumps(assets))


def _server():
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(20)
    return server


def _serve(server, answer, after):
    """Answer each request in the same way, until the server is closed."""
    with contextlib.suppress(OSError):
        while True:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.settimeout(5)
                connection.recv(1 << 16)
                connection.sendall(answer)
                while after == "repeat":
                    connection.sendall(answer[-REPEATED:] * 10)
                if after == "silence":
                    connection.recv(1)


def _last_line(said):
    """What is said of the last failure: progress bars and announcements of another try are not."""
    lines = [line for line in said.replace("\r", "\n").split("\n") if line.strip()]
    kept = [line for line in lines if "B/s" not in line and "; trying again in" not in line]
    if not kept or not all(line.isprintable() for line in kept):
        raise AssertionError(f"it says {lines[-3:]!r}")
    return kept[-1]


class Judges(Reader):
    """Judges' .onnx files with their JSON, which are computed."""

    share = 0.06
    allowed = ("subprocess.Popen", "os.kill")  # of the process that computes them
    @staticmethod
    def _network(nodes, outputs, initialisers=()):
        from onnx import TensorProto, helper

        def value(name, *shape):
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

        ports = [value(name, "n", *shape) for name, shape in outputs.items()]
        graph = helper.make_graph(nodes, "graph", [value("x", "n", 3, SIDE, SIDE)], ports, initialisers)
        opset = [helper.make_opsetid("", 17)]
        return helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString()

    def _files(self, network, **changed):
        return {"net.onnx": network, "net.json": json.dumps(DESCRIPTION | changed).encode()}

    def seeds(self):
        from onnx import helper, numpy_helper

        weights = numpy_helper.from_array(torch.rand(3, 4).numpy(), "w")
        filters = numpy_helper.from_array(torch.rand(3, 3, 3, 3).numpy(), "f")
        nodes = [
            helper.make_node("Conv", ["x", "f"], ["filtered"], pads=[1, 1, 1, 1]),
            helper.make_node("ReduceMean", ["filtered"], ["y"], axes=[2, 3], keepdims=0),
            helper.make_node("MatMul", ["y", "w"], ["mixed"]),
        ]
        files = self._files(self._network(nodes, {"y": [3], "mixed": [4]}, [weights, filters]))
        return first(files, files)

    def made_by_hand(self):
        from onnx import helper, numpy_helper

        def constant(name, *numbers):
            return numpy_helper.from_array(torch.tensor(numbers).numpy(), name)

        mean = helper.make_node("ReduceMean", ["grown"], ["y"], axes=[2, 3], keepdims=0)
        grown = [helper.make_node("Tile", ["x", "times"], ["grown"]), mean]
        padded = [helper.make_node("Pad", ["x", "pads"], ["grown"]), mean]
        deep = [helper.make_node("Add", [f"a{i}", f"a{i}"], [f"a{i + 1}"]) for i in range(1, 200)]
        deep = [helper.make_node("Add", ["x", "x"], ["a1"]), *deep, helper.make_node("Identity", ["a200"], ["mixed"])]
        rows = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
        squares = [helper.make_node("MatMul", [f"s{i}", f"s{i}"], [f"s{i + 1}"]) for i in range(10_000)]
        year = [helper.make_node("Tile", ["x", "times"], ["s0"]), *squares,
                helper.make_node("ReduceMean", ["s10000"], ["y"], axes=[2, 3], keepdims=0)]  # fmt: skip
        return {
            "tiled to a terabyte": self._files(
                self._network(grown, {"y": [3]}, [constant("times", 1, 1, 100_000, 100_000)]), features=None),
            "padded to a terabyte": self._files(
                self._network(padded, {"y": [3]}, [constant("pads", 0, 0, 0, 0, 0, 0, 400_000, 400_000)]),
                features=None),
            "computed for a year": self._files(
                self._network(year, {"y": [3]}, [constant("times", 1, 1, 400, 400)]), features=None),
            "other rows than images": self._files(
                self._network(rows, {"y": [3]}, [constant("shape", -1, 3)]), features=None),
            "other numbers than names": self._files(self._network(deep, {"mixed": [3, 8, 8]}), features=None),
            "an operator that is not there": self._files(
                self._network([helper.make_node("Nothing", ["x"], ["y"])], {"y": [3]}), features=None),
        }  # fmt: skip

    def read(self, directory, file):
        from lib.judges.onnx_file import OnnxJudge

        with patch("lib.judges.onnx_file.FIRST_PATIENCE", JUDGE_PATIENCE):
            judge = OnnxJudge(directory / "net.onnx", threads=1)
        try:
            judge(torch.zeros(2, 3, 16, 16))
        finally:
            judge.network.close()


class OpenClips(Reader):
    """Folders of open_clip's models: their settings, weights and tokenizer."""

    share = 0.1
    def seeds(self):
        os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": "/nonexistent"}
        import safetensors.torch

        made = {}
        for kind, network in (("words", VIT), ("own words", OWN_TOKENS)):
            state = self._state(network)
            settings = json.dumps({"model_cfg": network, "preprocess_cfg": PREPARATION}).encode()
            tokenizer = self._tokenizer() if kind == "own words" else {}
            forms = {"open_clip_model.safetensors": safetensors.torch.save(state),
                     "open_clip_pytorch_model.bin": saved(state)}  # fmt: skip
            for weights, content in forms.items():
                files = {"open_clip_config.json": settings, weights: content, **tokenizer}
                made |= {f"{kind} {name} {weights}": one for name, one in first(files, files).items()}
        return made

    @staticmethod
    def _state(network):
        import open_clip

        torch.manual_seed(0)
        model = open_clip.model.CLIP(**network)
        return {key: value.half().contiguous() for key, value in model.state_dict().items()}

    @staticmethod
    def _tokenizer():
        import string

        import tokenizers

        pieces = {"<pad>": 0.0, "</s>": 0.0, "<unk>": 0.0, "▁": -5.0, **dict.fromkeys(string.ascii_lowercase, -9.0)}
        tokenizer = tokenizers.Tokenizer(tokenizers.models.Unigram(list(pieces.items()), unk_id=2))
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
        marks = {"pad_token": {"content": "</s>"}, "sep_token": "</s>"}
        return {"tokenizer.json": tokenizer.to_str().encode(), "tokenizer_config.json": json.dumps(marks).encode()}

    def made_by_hand(self):
        weights = saved(self._state(VIT))

        def changed(part, **values):
            network = VIT | {part: VIT[part] | values}
            return {"open_clip_config.json": json.dumps({"model_cfg": network}).encode(), "model.bin": weights}

        return {
            "wide": changed("text_cfg", width=100_000, layers=200),
            "long": changed("text_cfg", context_length=1_000_000),
            "large": changed("vision_cfg", image_size=1_000_000),
            "of another repository": changed("vision_cfg", timm_model_name="hf-hub:nobody/evil"),
            "of another folder": changed("vision_cfg", timm_model_name="local-dir:/tmp"),
            "pretrained elsewhere": changed("vision_cfg", timm_model_name="resnet18", timm_model_pretrained=True),
        }

    def read(self, directory, file):
        from models.clip_encoder import load_clip

        encoder = load_clip(f"open_clip:{directory}")
        encoder.encode_text(["a face"])
        encoder.encode_images(torch.zeros(1, 3, 64, 64))


COMMAND_READERS = {
    "runs": Runs, "pools": Pools, "evaluations": Evaluations, "servers": Servers, "judges": Judges,
    "open_clip": OpenClips,
}  # fmt: skip
