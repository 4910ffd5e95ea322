"""Imports point down and stay relative; the torch-free part loads no torch."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "kernels": {"kernels"},
    "assets": {"assets"},
    "models": {"models", "kernels", "assets"},
    "streaming": {"streaming", "models", "kernels", "assets"},
    "app": {"app", "streaming", "models", "kernels", "assets"},
}
USES_TORCH = {
    "banks",
    "batch",
    "books",
    "brought",
    "build_report",
    "calibrate",
    "clean_lanes",
    "diffusion",
    "dream",
    "dream_looks",
    "dream_pipeline",
    "dream_streams",
    "dream_wishes",
    "effort_report",
    "engine",
    "entrance",
    "entries",
    "forward",
    "intake",
    "lanes",
    "levels",
    "motion",
    "offline",
    "parts",
    "portable",
    "prompts",
    "queues",
    "recorders",
    "results",
    "sd",
    "sd_batch",
    "sd_build",
    "sd_room",
    "stopwatch",
    "streams",
    "tiny",
    "transfer",
    "publish",
    "wan",
    "wan_parts",
    "wan_room",
    "wan_text",
    "warmup",
}
"""Modules of streaming/ that may load torch. Whatever is not named here must not."""

FILES = sorted(file for layer in MAY_IMPORT for file in (ROOT / layer).rglob("*.py"))


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_type_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports(tree: ast.AST, lazy: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Import statements outside TYPE_CHECKING; those inside functions only when `lazy`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif is_type_only(node):
            continue
        elif lazy or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from imports(node, lazy)


def targets(file: Path, lazy: bool) -> Iterator[str]:
    """Modules of this project that `file` imports, as "streaming.frames"."""
    package = module_of(file).split(".")
    if file.name != "__init__.py":
        package = package[:-1]
    for node in imports(ast.parse(file.read_text("utf-8")), lazy):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = package[: len(package) - (node.level - 1)]
        base = base + (node.module.split(".") if node.module else [])
        for alias in node.names:
            name = ".".join([*base, alias.name])
            inner = (ROOT / name.replace(".", "/")).with_suffix(".py")
            folder = ROOT / name.replace(".", "/")
            yield name if inner.is_file() or folder.is_dir() else ".".join(base)


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_imports_point_down(file: Path) -> None:
    layer = module_of(file).split(".")[0]
    for target in targets(file, lazy=True):
        if target:  # the root itself (`from .. import __version__`) belongs to every layer
            assert target.split(".")[0] in MAY_IMPORT[layer], f"{module_of(file)} -> {target}"


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_own_modules_are_imported_relatively(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names.append(node.module or "")
        for name in names:
            top = name.split(".")[0]
            assert top not in {"millrace", *MAY_IMPORT}, f"{module_of(file)} imports {name}"


def test_modules_import_each_other_without_cycles() -> None:
    graph = {
        module_of(file): {t for t in targets(file, lazy=False) if t != module_of(file)}
        for file in FILES
    }
    # A package's __init__ gives names to its own modules; that edge closes no real circle.
    for name, edges in graph.items():
        edges.discard(name.rpartition(".")[0])
        edges.discard("")
    # Raises CycleError, naming the circle.
    order = list(graphlib.TopologicalSorter(graph).static_order())
    assert len(order) >= len(FILES)


def torch_free() -> list[str]:
    app = [module_of(file) for file in (ROOT / "app").glob("*.py")]
    streaming = [
        module_of(file) for file in (ROOT / "streaming").glob("*.py") if file.stem not in USES_TORCH
    ]
    return sorted(f"millrace.{name}" for name in [*streaming, *app])


def test_the_torch_free_part_loads_no_torch() -> None:
    program = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    assert 'torch' not in sys.modules, f'{name} loads torch'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *torch_free()], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_command_line_loads_nothing_heavy() -> None:
    program = (
        "import sys, millrace.app.cli\n"
        "heavy = {'torch', 'gradio', 'aiortc', 'av', 'numpy', 'fastapi'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
