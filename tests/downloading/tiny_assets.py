"""A list of tiny assets that the loopback server has, and a directory to download them to."""

import io
import json

import torch
from loopback_server import Page
from tar_archives import sha256, tar

CAR, DOG = "stylegan2_tiny", "pggan_tiny"  # generators of the archive "nets"
EXPERIMENTS = {
    "released/one/args.json": b"{}",
    "released/one/models/latent_support_sets.pt": b"weights of one",
    "released/two/args.json": b"{ }",
}


def tensors():
    file = io.BytesIO()
    torch.save({"weight": torch.zeros(300)}, file)
    return file.getvalue()


PROBE = tensors()


def published_archives(networks):
    """{asset's name: (bytes of its archive, SHA-256)}."""
    contents = {"nets": networks, "probe": {"probe/probe.pth": PROBE}, "walks": EXPERIMENTS}
    packed = {name: tar(content) for name, content in contents.items()}
    return {name: (content, sha256(content)) for name, content in packed.items()}


class Place:
    """A directory to download to, and the list of what can be downloaded."""

    def __init__(self, directory, server, archives):
        self.to, self.list, self.server = directory / "to", directory / "assets.json", server
        self.nets, self.probe = self.to / "weights" / "nets", self.to / "weights" / "probe"
        for name, (content, _) in archives.items():
            server.pages[f"{name}.tar"] = Page(content)
        files = {"nets": [f"{CAR}.pth", f"{DOG}.pth"], "probe": ["probe.pth"], "walks": "one directory an experiment"}
        self.archives = {
            name: {"url": server.url(f"{name}.tar"), "sha256": digest, "unpacks_to": f"weights/{name}",
                   "files": files[name]}
            for name, (_, digest) in archives.items()
        }  # fmt: skip
        self.archives["walks"] |= {"unpacks_to": "experiments/complete", "optional": True}
        self.singles = {stem: [] for stem in (CAR, DOG)}

    def single(self, stem, path, content, *instead, form="genforce", **page):
        """Add a source of one generator's file."""
        self.server.pages[path] = Page(content, *instead, **page)
        self.singles[stem].append({"format": form, "url": self.server.url(path)})

    def arguments(self, *arguments):
        """The command line that downloads to here."""
        self.list.write_text(json.dumps({"archives": self.archives, "single_files": self.singles}))
        return [f"--to={self.to}", f"--assets={self.list}", "--pause=0.001", "--timeout=1", *map(str, arguments)]

    def files(self):
        """The files here, without records of hashes."""
        found = {str(path.relative_to(self.to)) for path in self.to.rglob("*") if path.is_file()}
        return {name for name in found if not name.endswith(".sha256")}


def serve(place, name, content, stated=True, **more):
    """Replace an asset's archive. stated: whether the list of assets has the SHA-256 of the new one."""
    place.server.pages[f"{name}.tar"] = Page(content)
    place.archives[name] |= {"sha256": sha256(content) if stated else None} | more


def refused(result, *named):
    """The line that reports a failed source, where exactly one was reported."""
    code, _, (line,) = result
    assert code == 1
    assert all(name in line for name in named), line
    return line
