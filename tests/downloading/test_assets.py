"""Lists of what can be downloaded: the published one, and invalid ones."""

import re

import pytest

import download
from lib.downloading.assets import ASSETS, choose, read_assets
from lib.downloading.destination import Destination
from lib.files import read_json
from models import registry
from models.errors import UserError


def test_published_assets_are_the_registrys_generators():
    assets = read_assets(ASSETS)
    published = {name for name, weights in registry.GENERATORS.items() if weights.fetched_by}
    assert {asset.label(file) for asset in assets.values() for file in asset.sources} == published
    destination = Destination()
    for name in published:
        asset = assets["biggan" if name.startswith("biggan") else "genforce"]
        assert destination.directory(asset) / f"{name}.pth" == registry.GENERATORS[name].file
    assert [asset.name for asset in assets.values() if asset.optional] == ["contraclip_models", "biggan"]
    assert all(re.fullmatch("[0-9a-f]{64}", asset.sha256) for asset in assets.values() if asset.url)


def test_optional_assets_come_when_they_are_named():
    assets = read_assets(ASSETS)

    def names(*arguments, **settings):
        return [asset.name for asset, _ in choose(assets, *arguments, **settings)]

    assert not {"biggan", "contraclip_models"} & {*names()}
    assert {*names(experiments=True)} - {*names()} == {"contraclip_models"}
    assert names(["biggan-deep-256"]) == names(["biggan"]) == ["biggan"]
    assert names(everything=True) == list(assets)


def test_face_networks_have_their_owners_addresses_hashes_and_files(data):
    assets = read_assets(ASSETS)
    for name, source in read_json(data / "detectors" / "sources.json").items():
        asset = assets[{"s3fd": "sfd"}.get(name, name)]
        assert [asset.url, *asset.other_urls] == source["tar_urls"] and asset.sha256 == source["tar_sha256"]
        assert [f"{asset.directory.name}/{file}" for file in asset.files] == source["files"]


@pytest.mark.parametrize(
    "archive",
    [
        {"files": ["../probe.pth"]}, {"files": ["a/probe.pth"]}, {"files": [".download"]}, {"unpacks_to": "../weights"},
        {"unpacks_to": "/weights"}, {"url": "file:///etc/passwd"}, {"url": 3}, {"files": None},
        {"other_urls": ["file:///etc/passwd"]}, {"other_urls": 3}, {"url": None},
    ],
)  # fmt: skip
def test_invalid_asset_is_refused(archive, place):
    place.archives["probe"] |= archive
    with pytest.raises(UserError, match=r"assets\.json is not a list of assets"):
        download.main(place.arguments())
    assert not place.to.exists()


@pytest.mark.parametrize("content", ["[]", "{}", "not JSON", '{"archives": 3}', '{"archives": {"a": {}}}'])
def test_file_that_is_not_a_list_of_assets_is_refused(content, place):
    arguments = place.arguments()
    place.list.write_text(content)
    with pytest.raises(UserError, match=r"assets\.json"):
        download.main(arguments)


def test_generator_without_an_archive_is_refused(place):
    place.singles["stylegan2_cat"] = []
    with pytest.raises(UserError, match="stylegan2_cat"):
        download.main(place.arguments())
