"""Which imports are allowed where import-linter does not look: in the commands and scripts, which are not packages.

The directions within `lib` and `models` are contracts in pyproject.toml, which `lint-imports` checks.
"""

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
COMMANDS = sorted(REPOSITORY.glob("*.py"))
SCRIPTS = sorted((REPOSITORY / "scripts").rglob("*.py"))
ROOMS = sorted(file for room in ("lib", "models") for file in (REPOSITORY / room).rglob("*.py"))
COMMAND_NAMES = {file.stem for file in COMMANDS}


def imported(source):
    """The names of the modules that Python source imports, inside functions too.

    `from lib.walking import pools` gives lib.walking and lib.walking.pools, which may be a module.
    """
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: a relative import, where all others are absolute"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def tops(names):
    return {name.partition(".")[0] for name in names}


def of_each(files):
    return pytest.mark.parametrize("file", files, ids=lambda file: str(file.relative_to(REPOSITORY)))


def test_imports_are_found_wherever_they_stand():
    source = "import os.path\ndef f():\n  if 1:\n    from lib.walking import pools as p\n  import train, lib.files"
    assert imported(source) == {"os.path", "lib.walking", "lib.walking.pools", "train", "lib.files"}


def test_all_commands_scripts_and_rooms_are_looked_at():
    assert COMMAND_NAMES >= {"train", "sample_gan", "traverse_latent_space", "download"}
    assert len(SCRIPTS) > 10 and len(ROOMS) > 40


@of_each([*COMMANDS, *SCRIPTS])
def test_a_command_or_script_imports_no_command(file):
    assert not tops(imported(file.read_text())) & COMMAND_NAMES


@of_each(COMMANDS)
def test_a_command_imports_no_script(file):
    assert not tops(imported(file.read_text())) & {"scripts", "tests"}


@of_each([*COMMANDS, *SCRIPTS])
def test_training_and_walking_do_not_meet_in_a_command_or_script(file):
    names = {".".join(name.split(".")[:2]) for name in imported(file.read_text())}
    assert not {"lib.training", "lib.walking"} <= names


@of_each(ROOMS)
def test_a_room_imports_neither_command_nor_script(file):
    assert not tops(imported(file.read_text())) & (COMMAND_NAMES | {"scripts", "tests"})


@of_each([*COMMANDS, *SCRIPTS, *ROOMS])
def test_modules_that_are_imported_from_the_repository_exist(file):
    """An import inside a function fails no sooner than the function is called."""
    for node in ast.walk(ast.parse(file.read_text())):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module] if isinstance(node, ast.ImportFrom) else []
        for module in modules:
            if tops([module]) & {"lib", "models", "scripts"}:
                path = REPOSITORY.joinpath(*module.split("."))
                assert path.with_suffix(".py").is_file() or path.is_dir(), module
