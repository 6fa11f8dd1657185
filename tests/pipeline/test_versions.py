"""Versions: who changes the code of a stage is reminded that its earlier runs may be stale."""

import ast
import functools
import hashlib
import json
from pathlib import Path

import pytest

import geneface_kit
from geneface_kit.pipeline.stages import STAGES

FOLDER = Path(geneface_kit.__file__).parent
RECORD = Path(__file__).parent / "versions.json"
"""Stage -> the version that it had, and the digest of its sources, when this was last renewed."""
RENEW = "python -m pytest tests/pipeline/test_versions.py --renew"
SOURCES = {
    "person": ["person"],
    "motion": ["motion", "person/corpus", "runs/training.py"],
    "adaptation": ["adaptation", "runs/training.py"],
    "nerf": ["nerf", "render", "runs/training.py"],
    "talk": ["talk"],
    "evaluation": ["evaluation", "metrics"],
}
"""Stage -> its sources. What they import of an upstream stage counts there: its id is in theirs."""
NO_RESULT = {"runs", "pipeline"}
"""Folders without a say in what a stage gives, runs/training.py apart."""


def essence(node: object) -> object:
    """What code does: its syntax tree without comments, docstrings, places and empty fields, which
    differ from one version of Python to another."""
    if isinstance(node, list):
        return [essence(one) for one in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    found = {name: value for name, value in ast.iter_fields(node) if value not in (None, [])}
    if isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef)):
        found["body"] = [one for one in node.body if not is_text(one)]
    return [type(node).__name__, {name: essence(value) for name, value in found.items()}]


def is_text(node: ast.AST) -> bool:
    """Whether a statement is a docstring, of a constant too."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


@functools.cache
def digest(stage: str) -> str:
    """Of all sources of a stage."""
    found = hashlib.sha256()
    for name in SOURCES[stage]:
        place = FOLDER / name
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            corpus = "corpus" in path.parts and stage == "person"
            if path.suffix == ".h":
                found.update(path.read_bytes())
            elif path.suffix == ".py" and not corpus:
                found.update(
                    json.dumps(essence(ast.parse(path.read_text())), sort_keys=True).encode()
                )
    return found.hexdigest()[:16]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_whose_sources_changed_has_a_new_version(stage, request):
    found = {name: [STAGES[name].version, digest(name)] for name in STAGES}
    if request.config.getoption("renew"):
        RECORD.write_text(json.dumps(found, indent=1) + "\n")
    (before, sources), (version, now) = json.loads(RECORD.read_text())[stage], found[stage]
    if before != version:
        pytest.fail(f"The stage {stage} has a new version. Record it: {RENEW}", pytrace=False)
    if sources != now:
        pytest.fail(
            f"The sources of the stage {stage} changed, its version {version} did not.\n"
            "If a run of it could now give something else, raise it in pipeline/stages.py.\n"
            f"Then, in any case: {RENEW}",
            pytrace=False,
        )


def test_every_source_belongs_to_a_stage():
    folders = {path.parent.name for path in FOLDER.glob("*/__init__.py")}
    assert folders == {name.partition("/")[0] for names in SOURCES.values() for name in names} | (
        NO_RESULT
    )


def test_words_do_not_count_and_constants_do():
    def of(text):
        return essence(ast.parse(text))

    plain = of("LEAST = 3\ndef f(x):\n    return x + LEAST")
    assert plain == of(
        'LEAST = 3  # ours\n"""Why."""\n\ndef f(x):\n    """Adds."""\n    return x+LEAST'
    )
    assert plain != of("LEAST = 4\ndef f(x):\n    return x + LEAST")
