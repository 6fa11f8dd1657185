"""The flow of design.md: a stage imports only what is upstream of it; public names are real."""

import ast
import importlib
from pathlib import Path

import pytest

import geneface_kit

FOLDER = Path(geneface_kit.__file__).parent
SERVING = {"live", "fitting", "runs"}
"""Any module may use these; they use no stage."""
ORDER = [
    "clip", "camera", "demo", "landmarks", "tracking", "layers", "speech",
    "person",
    "metrics", "corpus", "wavenet", "sync", "vae", "motion", "adaptation",
    "render", "views", "head", "torso", "portrait",
    "talk", "tables", "figures", "official",
]  # fmt: skip
"""Flow order: a module imports only modules before it."""
NOT_BESIDE = {"render": {"person", "motion", "adaptation"}, "head": {"motion", "adaptation"}}
"""Upstream in the list, but not in the flow: the renderer knows nothing of faces or speech."""
TOP = {"profiles", "notebooks", "__main__", "__init__"}
"""These stand above all stages."""


def module_imports(path: Path) -> set[str]:
    """Kit modules imported at module level, by name."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            parts = node.module.split(".")
            if parts[0] == "geneface_kit":
                names = [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
                found.update(names)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                parts = alias.name.split(".")
                if parts[0] == "geneface_kit" and len(parts) > 1:
                    found.add(parts[1])
    return found


def top_module(path: Path) -> str:
    return path.relative_to(FOLDER).parts[0].removesuffix(".py")


FILES = sorted(FOLDER.rglob("*.py"))


def breaches(name: str, imported: set[str]) -> set[str]:
    """The imports of a module that the flow does not allow."""
    if name in TOP:
        return set()
    if name in SERVING:
        return imported - SERVING
    allowed = SERVING | {name} | set(ORDER[: ORDER.index(name)]) - NOT_BESIDE.get(name, set())
    return imported - allowed


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_imports_go_downstream_only(path):
    assert breaches(top_module(path), module_imports(path)) == set()


def test_the_check_can_fail(tmp_path):
    bad = tmp_path / "person.py"
    bad.write_text("from geneface_kit import talk\nimport geneface_kit.motion\n")
    assert breaches("person", module_imports(bad)) == {"talk", "motion"}


def test_every_module_has_a_place_in_the_flow():
    placed = set(ORDER) | SERVING | TOP
    assert {top_module(path) for path in FILES} <= placed
    assert len(placed - {"__init__", "demo"}) <= 29, "flat and few: merge before you add"


@pytest.mark.parametrize("name", sorted((set(ORDER) | SERVING | TOP) - {"__main__", "__init__"}))
def test_public_names_exist_and_are_documented(name):
    module = importlib.import_module(f"geneface_kit.{name}")
    assert module.__doc__ and module.__doc__.strip().endswith((".", ")"))
    for public in module.__all__:
        item = getattr(module, public)
        if callable(item):
            assert item.__doc__, f"{name}.{public} has no docstring"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_modules_speak_through_logging(path):
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    names = {call.func.id for call in calls if isinstance(call.func, ast.Name)}
    assert not names & {"print", "eval", "exec"}
    assert "from __future__" not in path.read_text()
