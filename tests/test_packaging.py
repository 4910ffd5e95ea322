"""What is installed is what the tree holds: packages, data, script, and processes started anew."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import subprocess
import sys
import tomllib
import zipfile
from functools import cache
from pathlib import Path

import millrace
import pytest
from millrace import assets
from millrace.models.training.manifest import record

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
FOLDERS = ("kernels", "assets", "models", "streaming", "app")
DATA = {
    "app": (".js", ".css", ".html"),
    "models": (".toml",),
    "assets": (".safetensors", ".json", ".mp4", ".png", ".jpg", ".md"),
}


def test_every_folder_with_code_is_a_listed_package() -> None:
    folders = {
        "millrace." + ".".join(file.parent.relative_to(ROOT).parts)
        for folder in FOLDERS
        for file in (ROOT / folder).rglob("*.py")
    }
    assert folders | {"millrace"} == set(PROJECT["tool"]["setuptools"]["packages"])


def test_every_package_folder_has_its_init() -> None:
    for name in PROJECT["tool"]["setuptools"]["packages"]:
        folder = ROOT.joinpath(*name.split(".")[1:])
        assert (folder / "__init__.py").is_file(), name


@cache
def tracked() -> list[Path]:
    """Asked once: what is added while the tests run is not in the wheel they built."""
    listing = subprocess.run(
        ["git", "ls-files", *FOLDERS], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [Path(line) for line in listing.stdout.splitlines()]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the tracked files alone, without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for file in [*tracked(), *map(Path, ("pyproject.toml", "README.md", "LICENSE", "py.typed"))]:
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, source / file)
    shutil.copy(ROOT / "__init__.py", source)
    program = "import setuptools.build_meta as b, sys; b.build_wheel(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)], cwd=source, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_the_tree(wheel: Path) -> None:
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = {"millrace/__init__.py", "millrace/py.typed"}
    for file in tracked():
        kinds = (".py", *DATA.get(file.parts[0], ()))
        if file.suffix in kinds:
            expected.add(f"millrace/{file.as_posix()}")
    assert inside == expected


def test_the_wheel_has_the_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith("entry_points.txt"))
        assert "millrace = millrace.app.cli:main" in archive.read(name).decode()
        metadata = next(n for n in archive.namelist() if n.endswith("METADATA"))
        assert f"Version: {millrace.__version__}" in archive.read(metadata).decode()


def test_the_unpacked_wheel_runs(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); del sys.argv[1]\n"
        "from millrace import assets; from millrace.app.cli import main\n"
        "assert str(assets.FOLDER).startswith(sys.path[0]), assets.FOLDER\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), "models", "verify", "--json"],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["clip.mp4"] == "ok"


def test_the_console_script_answers() -> None:
    script = Path(sys.executable).parent / "millrace"
    done = subprocess.run([script, "--version"], capture_output=True, text=True)
    assert done.stdout == f"millrace {millrace.__version__}\n"


def test_a_spawned_process_finds_the_package() -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        assert pool.apply(assets.sha256, (assets.MANIFEST,)) == assets.sha256(assets.MANIFEST)


# Shipped files.


def test_the_manifest_names_every_shipped_file_and_each_is_intact() -> None:
    kept = {"manifest.json", "__init__.py"}
    there = {file.name for file in tracked() if file.parts[0] == "assets"} - kept
    assert there == set(assets.manifest())
    for asset in assets.manifest().values():
        assets.verify(asset)
        assert asset.licence and asset.origin, asset.name
    sizes = [asset.bytes for asset in assets.manifest().values()]
    assert max(sizes) < 25_000_000 and sum(sizes) < 40_000_000, "the repository stays light"


def test_assets_that_are_wrong_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.bin"
    file.write_bytes(b"one")
    asset = record("x.bin", "CC0-1.0", "", "made here", tmp_path)
    assert assets.manifest(tmp_path / "manifest.json") == {"x.bin": asset}
    assets.verify(asset, tmp_path)
    file.write_bytes(b"two")
    with pytest.raises(assets.AssetError, match="sha256"):
        assets.verify(asset, tmp_path)
    file.write_bytes(b"three")
    with pytest.raises(assets.AssetError, match="5 bytes, expected 3"):
        assets.verify(asset, tmp_path)
    file.unlink()
    with pytest.raises(assets.AssetError, match="is missing"):
        assets.verify(asset, tmp_path)
    with pytest.raises(assets.AssetError, match="not a shipped file"):
        assets.path("x.bin")
    with pytest.raises(assets.AssetError, match="reinstall"):
        assets.manifest(tmp_path / "gone.json")
