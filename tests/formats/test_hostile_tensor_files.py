"""Files by torch.save whose tensors claim more than the file has, or which contain themselves. More: tests/hostile."""

import zipfile

import pytest
import torch
from reading import error_of


@pytest.mark.parametrize("legacy", [True, False])
def test_claims_of_torch_files_are_refused(legacy, tmp_path, monkeypatch):
    file = tmp_path / "claims.pth"
    if legacy:
        torch.save({"generator": {"w": torch.zeros(77)}}, file, _use_new_zipfile_serialization=False)
        content = file.read_bytes()
        file.write_bytes(content.replace(b"K\x4d", b"\x8a\x09" + (10 << 30).to_bytes(9, "little")))
    else:
        torch.save({"generator": {"w": torch.zeros(1 << 20)}}, tmp_path / "small.pth")
        with zipfile.ZipFile(tmp_path / "small.pth") as small, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as bomb:
            for record in small.namelist():
                bomb.writestr(record, small.read(record))
    monkeypatch.setattr(torch, "load", None)
    assert "claims" in error_of(file)
    with zipfile.ZipFile(file, "a") as archive:  # a legacy file followed by a small archive is not an archive
        archive.writestr("small", b"")
    assert "claims" in error_of(file)


def test_repeating_strides_cannot_make_large_tensors(tmp_path):
    torch.save({"generator": {"layer0.weight": torch.zeros(1).expand(1 << 30)}}, tmp_path / "repeats.pth")
    assert "claims" in error_of(tmp_path / "repeats.pth")


def test_content_that_contains_itself(tmp_path):
    content = {"other": []}
    content["other"].append(content)
    torch.save(content, tmp_path / "itself.pth")
    assert "contains itself" in error_of(tmp_path / "itself.pth")
