"""The house: folders in the order of the flow, imports one way, no circle, thin."""

import ast
from pathlib import Path

import pytest

import geneface_kit

FOLDER = Path(geneface_kit.__file__).parent
ORDER = (
    "render", "runs", "metrics", "person",
    "motion", "adaptation", "nerf", "talk", "evaluation", "pipeline",
)  # fmt: skip
"""From the bottom up: a folder imports only those before it."""
APART = {("metrics", "render"), ("person", "render"), ("motion", "render"), ("runs", "render")}
"""(who, whom): below it in the list, but not in the flow."""
FILES = sorted(FOLDER.rglob("*.py"))
MODULES = {
    ".".join(("geneface_kit", *path.relative_to(FOLDER).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): path
    for path in FILES
}
MOST_LINES, MOST_FILES, MOST_NAMES, LONGEST, SHORTEST = 15_000, 120, 12, 350, 40


def imported(source: str) -> set[str]:
    """Modules of the kit that a file imports, anywhere in it: lazy imports count."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a name is from"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in names}
    return {name for name in found if name.partition(".")[0] == "geneface_kit"}


GRAPH = {
    name: {one for one in imported(path.read_text()) if one in MODULES and one != name}
    for name, path in MODULES.items()
}


def folder(module: str) -> str:
    """The folder of a module, "" for the package's own two files."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ORDER else ""


def above(module: str) -> list[str]:
    """The packages a module lies in."""
    parts = module.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


def climbs(name: str, others: set[str]) -> set[str]:
    """The imports of a module that go up, or to a folder it should not know."""
    home = folder(name)
    if not home:
        return set()
    allowed = set(ORDER[: ORDER.index(home) + 1]) - {whom for who, whom in APART if who == home}
    return {other for other in others if folder(other) not in allowed}


def circles(graph: dict[str, set[str]]) -> set[str]:
    """The modules that import themselves by way of others; a package's own parts do not count."""
    reached = {name: set(ones) for name, ones in graph.items()}
    changed = True
    while changed:
        changed = False
        for ones in reached.values():
            more = set().union(*(reached.get(one, set()) for one in ones)) - ones
            changed = changed or bool(more)
            ones |= more
    return {name for name, ones in reached.items() if name in ones}


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_down_only(name):
    assert climbs(name, GRAPH[name]) == set()


def test_no_file_imports_itself_by_way_of_others():
    below = {
        name: {one for one in ones if not name.startswith(f"{one}.")}
        for name, ones in GRAPH.items()
    }
    assert circles(below) == set()


def test_the_checks_can_fail():
    assert climbs("geneface_kit.person.stage", {"geneface_kit.talk.stage"})
    assert climbs("geneface_kit.render.march", {"geneface_kit"})
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == {"b", "c"}
    lazy = "def f():\n    from geneface_kit.talk import stage\n"
    assert imported(lazy) == {"geneface_kit.talk.stage"}


def test_the_package_is_thin():
    lines = {name: len(path.read_text().splitlines()) for name, path in MODULES.items()}
    assert sum(lines.values()) <= MOST_LINES
    assert len(lines) <= MOST_FILES
    assert len([one for one in FOLDER.iterdir() if one.name != "__pycache__"]) <= MOST_NAMES
    assert {name: n for name, n in lines.items() if n > LONGEST} == {}


def test_no_file_is_a_crumb():
    """A file under 40 lines has more than one caller, or is a folder's own first page."""
    callers = {name: [one for one in GRAPH if name in GRAPH[one]] for name in MODULES}
    crumbs = {
        name: callers[name]
        for name, path in MODULES.items()
        if path.name not in ("__init__.py", "__main__.py")
        and len(path.read_text().splitlines()) < SHORTEST
        and len(callers[name]) < 2
    }
    assert crumbs == {}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_modules_speak_through_logging(path):
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    names = {call.func.id for call in calls if isinstance(call.func, ast.Name)}
    assert not names & {"print", "eval", "exec"}
    assert "from __future__" not in path.read_text()


@pytest.mark.parametrize("name", MODULES)
def test_modules_say_what_they_are(name):
    assert ast.get_docstring(ast.parse(MODULES[name].read_text()))
