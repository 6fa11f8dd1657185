"""The house: folders in the order of the flow, imports one way, no circle, thin."""

import ast
import importlib.util
import re
import tomllib
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
MODULES = {
    ".".join(("geneface_kit", *path.relative_to(FOLDER).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): path
    for path in sorted(FOLDER.rglob("*.py"))
}
MOST_LINES, MOST_FILES, MOST_NAMES, LONGEST, SHORTEST = 15_000, 120, 12, 350, 40
"""Lines should become 15,000. What is there is run by stages; fewer of them need fewer features."""


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


def climbs(name: str, others: set[str]) -> set[str]:
    """The imports of a module that go up, or to a folder it should not know."""
    home = folder(name)
    if not home:
        return set()
    allowed = set(ORDER[: ORDER.index(home) + 1]) - {whom for who, whom in APART if who == home}
    return {other for other in others if folder(other) not in allowed}


def circles(graph: dict[str, set[str]]) -> set[str]:
    """The arrows by which modules import themselves by way of others."""
    reached = {name: set(ones) for name, ones in graph.items()}
    changed = True
    while changed:
        changed = False
        for ones in reached.values():
            more = set().union(*(reached.get(one, set()) for one in ones)) - ones
            changed = changed or bool(more)
            ones |= more
    return {
        f"{name} -> {one}"
        for name, ones in graph.items()
        for one in ones
        if name in reached.get(one, ())
    }


def said(wrong: set[str]) -> str:
    """What is wrong, a line each."""
    return "\n" + "\n".join(sorted(wrong))


def test_imports_go_down_only():
    climbing = {f"{name} -> {other}" for name in MODULES for other in climbs(name, GRAPH[name])}
    assert not climbing, said(climbing)


def test_no_file_imports_itself_by_way_of_others():
    below = {
        name: {one for one in ones if not name.startswith(f"{one}.")}
        for name, ones in GRAPH.items()
    }
    found = circles(below)
    assert not found, said(found)


def test_the_kit_draws_by_one_page_alone():
    """figures/ stands on the kit; what a prepared person is worth is shown when it is prepared."""
    drawing = {name for name, path in MODULES.items() if "geneface_kit_figures" in path.read_text()}
    assert drawing == {"geneface_kit.person.stage"}


def test_the_checks_can_fail():
    assert climbs("geneface_kit.person.stage", {"geneface_kit.talk.stage"})
    assert climbs("geneface_kit.render.march", {"geneface_kit"})
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == {"b -> c", "c -> b"}
    lazy = "def f():\n    from geneface_kit.talk import stage\n"
    assert imported(lazy) == {"geneface_kit.talk.stage"}


def test_the_package_is_thin():
    n_lines = sum(len(path.read_text().splitlines()) for path in MODULES.values())
    # py.typed is an empty mark that type checkers look for there (PEP 561)
    names = [one.name for one in FOLDER.iterdir() if one.name not in ("__pycache__", "py.typed")]
    assert n_lines <= MOST_LINES
    assert len(list(MODULES)) <= MOST_FILES
    assert len(names) <= MOST_NAMES, names


def test_no_file_is_long():
    lines = {name: len(path.read_text().splitlines()) for name, path in MODULES.items()}
    long = {f"{name}: {n} lines" for name, n in lines.items() if n > LONGEST}
    assert not long, said(long)


def test_no_file_is_a_crumb():
    """A file under SHORTEST lines has several callers, or is a folder's own first page."""
    callers = {name: [one for one in GRAPH if name in GRAPH[one]] for name in MODULES}
    crumbs = {
        f"{name}: only {', '.join(callers[name]) or 'nobody'} imports it"
        for name, path in MODULES.items()
        if path.name not in ("__init__.py", "__main__.py")
        and len(path.read_text().splitlines()) < SHORTEST
        and len(callers[name]) < 2
    }
    assert not crumbs, said(crumbs)


def test_modules_speak_through_logging_and_say_what_they_are():
    wrong = set()
    for name, path in MODULES.items():
        source = path.read_text()
        tree = ast.parse(source)
        called = {
            node.func.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        wrong |= {f"{name} calls {one}" for one in called & {"print", "eval", "exec"}}
        wrong |= {f"{name} imports annotations"} if "from __future__" in source else set()
        wrong |= set() if ast.get_docstring(tree) else {f"{name} has no docstring"}
    assert not wrong, said(wrong)


POSIX_ALONE = {"resource", "fcntl", "pwd", "grp", "termios", "tty", "pty", "posix", "syslog"}
"""Modules that Windows does not have; CI shows Linux only, so that the sources are looked at."""
POSIX_NAMES = {"fork", "getuid", "geteuid", "setsid", "killpg", "sched_getaffinity", "sysconf"}
POSIX_NAMES |= {"SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGSTOP"}


def posix_only(source: str) -> set[str]:
    """What a file imports or names, when it is imported, that Windows does not have; anywhere in
    it of `os` and `signal`."""
    tree = ast.parse(source)
    found = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in ("os", "signal")
    } & POSIX_NAMES
    for node in tree.body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found |= {name.partition(".")[0] for name in names} & POSIX_ALONE
    return found


def test_nothing_is_for_posix_alone():
    wrong = {
        f"{name}: {one}" for name, path in MODULES.items() for one in posix_only(path.read_text())
    }
    assert not wrong, said(wrong)
    assert posix_only("import resource\nimport signal, os\nos.fork()\nsignal.SIGKILL") == {
        *("resource", "fork", "SIGKILL")
    }
    assert posix_only("def f():\n    import resource\nsignal.SIGTERM") == set()


def test_the_wheel_holds_every_file():
    """Data files are named by pyproject.toml, folders with code are found by setup.py."""
    project = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["geneface_kit"]
    data = [
        path.relative_to(FOLDER)
        for path in FOLDER.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    ]
    missing = {str(path) for path in data if not any(path.match(one) for one in patterns)}
    assert data and not missing, said(missing)
    unused = {one for one in patterns if not any(path.match(one) for path in data)}
    assert not unused, said(unused)


@pytest.mark.parametrize(
    "name", ["README.md", "REPRODUCTION.md", "geneface_kit/motion/MODEL_CARD.md"]
)
def test_what_the_prose_points_to_is_there(name):
    """Links, files and modules that run; what a run writes is not looked for."""
    top = FOLDER.parent
    text = (top / name).read_text()
    paths = set(re.findall(r"\]\((?!http)([^)#]+)\)", text))
    paths |= set(re.findall(r"`((?:geneface_kit|notebooks|tests)/[\w/.]+)`", text))
    modules = set(re.findall(r"python -m ((?:geneface_kit|notebooks)\.[\w.]+)", text))
    missing = {one for one in paths if not (top / one).exists()}
    missing |= {one for one in modules if importlib.util.find_spec(one) is None}
    assert not missing, said(missing)
