"""Generators converted from one format to another, from Python and by command."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from reading import error_of

from models.errors import UserError
from models.formats import __main__ as formats_command
from models.formats import convert, read_generator
from models.load_generator import load_generator

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("target", ["out.pth", "out.safetensors"])
@pytest.mark.parametrize("source", ["stylegan2_tiny.pth", "pggan_tiny.pth", "rosinality_tiny.pt", "nvidia"])
def test_converted_generator_is_the_same(source, target, data, nvidia_file, tmp_path):
    source = nvidia_file() if source == "nvidia" else data / source
    convert(source, tmp_path / target)
    convert(tmp_path / target, tmp_path / "again.pth")
    expected = read_generator(source)
    for file in (tmp_path / target, tmp_path / "again.pth"):
        found = read_generator(file)
        assert type(found) is type(expected)
        torch.testing.assert_close(found.state_dict(), expected.state_dict(), rtol=0, atol=0)
    assert list(torch.load(tmp_path / "again.pth")) == ["generator_smooth"]
    assert not list(tmp_path.glob(".*"))


def test_half_precision_is_kept(data, tmp_path):
    state = torch.load(data / "pggan_tiny.pth")["generator_smooth"]
    torch.save({"generator": {key: value.half() for key, value in state.items()}}, tmp_path / "half.pth")
    convert(tmp_path / "half.pth", tmp_path / "half.safetensors")
    assert {value.dtype for value in read_generator(tmp_path / "half.safetensors").state_dict().values()} == {
        torch.float16
    }


@pytest.mark.parametrize("legacy", [True, False])
def test_legacy_torch_files_are_read(legacy, data, tmp_path):
    content = torch.load(data / "stylegan2_tiny.pth")
    torch.save(content, tmp_path / "saved.pth", _use_new_zipfile_serialization=not legacy)
    found = read_generator(tmp_path / "saved.pth").state_dict()
    torch.testing.assert_close(found, dict(content["generator_smooth"]), rtol=0, atol=0)


def test_failed_conversion_leaves_what_was_there(nvidia_file, tmp_path):
    (tmp_path / "out.pth").write_text("before")
    source = nvidia_file(c_dim=2)
    with pytest.raises(UserError):
        convert(source, tmp_path / "out.pth")
    assert (tmp_path / "out.pth").read_text() == "before"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["nvidia.pkl", "out.pth"]


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html><html>", b"\x1f\x8b" * 20, b"(dp0\nS'G_ema'\np1\n."])
def test_files_of_no_known_format(content, tmp_path):
    (tmp_path / "page.pkl").write_bytes(content)
    assert "NVIDIA" in error_of(tmp_path / "page.pkl")


def convert_command(*arguments):
    command = [sys.executable, "-m", "models.formats", *map(str, arguments)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)


def test_conversion_by_command(nvidia_file, tmp_path, monkeypatch, capsys):
    source, target = nvidia_file(), tmp_path / "new" / "out.pth"
    monkeypatch.setattr(sys, "argv", ["formats", str(source), str(target)])
    formats_command.main()  # in this process, which has imported torch
    out, error = capsys.readouterr()
    assert error == ""
    assert "out.pth" in out and load_generator(target).resolution == 64
    process = convert_command(tmp_path / "absent", tmp_path / "out.pth")
    assert process.returncode == 2 and process.stderr.count("\n") == 1 and "absent" in process.stderr
    process = convert_command("-h")
    assert process.returncode == 0 and "NVIDIA" in process.stdout
    process = convert_command(source, tmp_path)
    assert process.returncode == 2 and "is a directory" in process.stderr


def test_conversion_to_where_nothing_can_be_written(data, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["formats", str(data / "pggan_tiny.pth"), "/proc/out.pth"])
    with pytest.raises(SystemExit) as raised:
        formats_command.main()
    error = capsys.readouterr().err
    assert raised.value.code == 2 and error.count("\n") == 1 and "/proc" in error


def test_help_of_the_conversion_needs_no_torch():
    program = "import runpy, sys; sys.argv[1:] = ['-h']; sys.modules['torch'] = None; "
    command = [sys.executable, "-c", program + "runpy.run_module('models.formats', run_name='__main__')"]
    process = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert (process.returncode, process.stderr) == (0, "")
