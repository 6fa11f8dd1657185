"""Readers: every function that reads a file of another process, and the whole file it is fed.

`found` looks for them in the sources; a test compares it with COVERS, so that a new reader without
a fuzz is noticed.
"""

import ast
import hashlib
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import geneface_kit_figures as figures
import numpy as np
import torch
from geneface_kit_figures.credentials import credentials
from geneface_kit_figures.tables import read_table
from torch import nn

from geneface_kit.adaptation import stage as adaptation_stage
from geneface_kit.metrics import perceptual
from geneface_kit.motion import stage as motion_stage
from geneface_kit.motion.weights import MOTION, SHIPPED, SYNC
from geneface_kit.nerf import head_training
from geneface_kit.nerf import stage as nerf_stage
from geneface_kit.person import artefact, clip, demo, known
from geneface_kit.person.corpus.manifest import ClipJob, CorpusConfig
from geneface_kit.person.corpus.store import open_corpus, pack
from geneface_kit.person.stage import consent_beside
from geneface_kit.runs import sha256, weights, write_json
from geneface_kit.runs.arrays import read_npz, write_image, write_npy, write_npz
from geneface_kit.runs.files import Damaged, digests
from geneface_kit.runs.record import SCHEMA, open_run
from geneface_kit.talk import marking
from notebooks.studies.crates import crate
from notebooks.studies.official import read_checkpoint

ROOT = Path(__file__).parents[3]
PLACES = ("geneface_kit", "figures", "notebooks")
PRIMITIVES = frozenset(
    "np.load np.fromfile json.load json.loads pd.read_csv Image.open cv2.imread zipfile.ZipFile "
    "safe_open load_file torch.load h5py.File tomllib.loads csv.DictReader nbformat.read av.open "
    "read_text read_bytes read_json read_npz read_npy read_image read_table read_metadata "
    "load_weights load_tensors load_nested".split()
)
"""Calls that read a file: those of libraries, and the kit's own doors."""


@dataclass(frozen=True)
class Reader:
    """make(folder) writes whole files, read(folder) gives all that they say.

    guard: files whose digest is
    kept elsewhere (in run.json, a table of networks) and compared before they are read. unknowable:
    nothing tells what a recording or a statement said before it was damaged.
    """

    make: Callable[[Path], None]
    read: Callable[[Path], object]
    guard: bool = False
    unknowable: bool = False


def found() -> set[str]:
    """Every function of the sources that reads a file."""
    names = set()
    for place in PLACES:
        for path in sorted((ROOT / place).rglob("*.py")):
            if path.parent == Path(__file__).parent:
                continue
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            tree = ast.parse(path.read_text())
            functions = (one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef))
            reading = (one for one in functions if any(map(_reads, ast.walk(one))))
            names |= {f"{module.removesuffix('.__init__')}.{one.name}" for one in reading}
    return names


def _reads(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    name = ast.unparse(node.func)
    return name in PRIMITIVES or name.rpartition(".")[2] in PRIMITIVES


ARRAYS = {"poses": "real 9 4 4", "word": "word", "n": "whole 9"}


def _arrays(folder: Path) -> None:
    draw = np.random.default_rng(0)
    write_npz(folder / "a.npz", poses=draw.normal(size=(9, 4, 4)), word="hama", n=np.arange(9))


def _person(folder: Path) -> None:
    """Four frames of 16 x 16 pixels."""
    draw, n, size = np.random.default_rng(0), 4, 16
    write_npz(
        folder / "tracks.npz",
        poses=np.tile(np.eye(4), (n, 1, 1)),
        landmarks=draw.normal(size=(n, 68, 3)),
        landmarks2d=draw.normal(size=(n, 68, 2)),
        landmark_mean=draw.normal(size=(68, 3)),
        landmark_std=np.ones((68, 3)),
        face_rects=np.zeros((n, 4), int),
        lip_rects=np.zeros((n, 4), int),
        found=np.ones(n, bool),
        spans=np.zeros(1, int),
    )
    heard = {"features": draw.normal(size=(2 * n, 6)), "mel": np.zeros((2 * n, 80))}
    write_npz(folder / "speech.npz", f0=np.zeros(2 * n), encoder="hama", version="1", **heard)
    for name, channels in (("frames", (3,)), ("labels", ()), ("kinds", ()), ("torso", (4,))):
        shape = (n, size, size, *channels)
        write_npy(folder / f"{name}.npy", draw.integers(0, 4, shape, np.uint8))
    write_image(folder / "background.png", draw.integers(0, 256, (size, size, 3), np.uint8))
    clip.write_audio(folder / "audio.wav", draw.uniform(-1, 1, n * clip.SAMPLES).astype(np.float32))
    facts = {"schema": artefact.SCHEMA, "name": "ada", "data_kind": "real", "size": size}
    facts |= {"focal": 30.0, "n_frames": n, "forced": False, "consent": "yes"}
    facts |= {"report": {"verdict": "usable", "obstacles": [], "measures": {"blur": 0.25}}}
    write_json(folder / "person.json", facts)


def _sealed(source: Path, folder: Path, *names: str) -> None:
    """Copies of weights that came without a digest, with one."""
    for name in names:
        weights.save_tensors(folder / name, *weights.load_tensors(source / name))


def _avatar(folder: Path) -> None:
    for name in ("avatar.json", "occupancy.npz"):
        shutil.copy(demo.AVATAR / name, folder)
    _sealed(demo.AVATAR, folder, "joint.safetensors")


def _load_avatar(folder: Path) -> object:
    avatar = nerf_stage.load(folder, artefact.load(demo.AVATAR))
    return avatar.head, avatar.torso, avatar.focal, avatar.renderer.pruned, avatar.renderer.config


def _network(folder: Path) -> None:
    torch.manual_seed(0)
    weights.save_weights(folder / "net.safetensors", nn.Linear(6, 5), encoder="hama", unit="0.03")


def _load_network(folder: Path) -> object:
    network = nn.Linear(6, 5)
    about = weights.load_weights(folder / "net.safetensors", network, encoder="hama")
    return network, about


def _nested(folder: Path) -> None:
    state = {"exp_avg": torch.arange(9.0), "step": 40, "names": ["a", "b"]}
    content = {"step": 40, "optimizers": {"adam": state}, "history": {"rows": [{"loss": 0.5}]}}
    weights.save_nested(folder / "head_checkpoint.safetensors", content)


def _corpus(folder: Path) -> None:
    draw, config = np.random.default_rng(0), CorpusConfig()
    read = []
    for name in ("s1/a", "s2/b"):
        path = folder / f"{name}.mp4"
        job = ClipJob(name, path.name, path, name[:2], name.replace("/", "-"), path, config)
        arrays = {"features": draw.normal(size=(20, 6)), "f0": np.ones(20)}
        arrays |= {"mel": np.zeros((20, 80)), "landmarks": draw.normal(size=(10, 68, 3))}
        facts = {"version": "1", "offset_s": 0.25, "offset_confidence": 1.0}
        arrays = {key: values.astype(np.float32) for key, values in arrays.items()}
        read.append((job, (facts | {"offset_corrected": True}, arrays)))
    pack(folder, [job for job, _ in read], iter(read), {})
    (folder / "broken.csv").unlink()  # for people, no function reads it


def _read_corpus(folder: Path) -> object:
    data = open_corpus(folder)
    return data.utterances, data.broken, data.facts


def _run(folder: Path) -> None:
    place = folder / "ada" / "person-smoke-1"
    place.mkdir(parents=True)
    facts = {"schema": SCHEMA, "id": "person-ada", "stage": "person", "subject": "ada", "seed": 0}
    facts |= {"profile": "smoke", "status": "ok", "data_kind": "real", "config": {"person": {}}}
    facts |= {"parents": {}, "outputs": {"a": "0"}, "sizes": {"a": 3}, "metrics": {"psnr": 30.25}}
    write_json(place / "run.json", facts)


def _figure(name: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        for path in (ROOT / "figures").glob(f"{name}.*"):
            shutil.copy(path, folder)
        write_json(folder / f"{name}.json", figures.read_json(folder / f"{name}.json"))

    return make


def _check_figures(folder: Path) -> object:
    if figures.redraw(folder, check=True):
        raise Damaged(f"the picture in {folder} is not what its data gives")
    return figures.names(folder)


def _table(folder: Path) -> None:
    shutil.copy(ROOT / "figures" / "table_a.csv", folder)


def _crate(folder: Path) -> None:
    import zipfile

    inside = folder / "inside"
    inside.mkdir()
    _run(inside / "runs")
    (inside / "LICENSE").write_text("a licence " * 99)
    files = {p.relative_to(inside).as_posix(): p for p in inside.rglob("*") if p.is_file()}
    run = inside / "runs" / "ada" / "person-smoke-1"
    (run / "a").write_text("abc")
    facts = open_run(run).facts
    write_json(run / "run.json", facts | {"outputs": {"a": sha256(run / "a")}})
    files["runs/ada/person-smoke-1/a"] = run / "a"
    sums = {place: sha256(path) for place, path in files.items()}
    write_json(inside / crate.CHECKSUMS, {"schema": 1, "run": "person-ada", "sha256": sums})
    with zipfile.ZipFile(folder / "crate.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for place in (*sums, crate.CHECKSUMS):
            archive.write(inside / place, place)
    shutil.rmtree(inside)


def _verify(folder: Path) -> object:
    verdict = crate.verify(folder / "crate.zip")
    if verdict.wrong:
        raise Damaged(verdict.wrong[0])
    return verdict


def _fetched(folder: Path) -> None:
    with zipfile.ZipFile(folder / "ada.zip", "w") as archive:
        archive.writestr("clips/one.mpg", b"a clip" * 99)


def _read_fetched(folder: Path) -> bytes:
    digest = hashlib.sha256(b"a clip" * 99).hexdigest()
    ada = known.KnownPerson("a test", "free", "http://127.0.0.1:9/ada.zip", {"one.mpg": digest})
    try:
        return (known.fetch("ada", folder, ada) / "one.mpg").read_bytes()
    finally:
        shutil.rmtree(folder / "ada", ignore_errors=True)


def _statement(folder: Path) -> None:
    (folder / "ada.mp4").write_bytes(b"")
    (folder / "ada.consent.txt").write_text("I agree. Ada, 2026")


def _keys(folder: Path) -> None:
    for name, content in zip(marking.KEYS, marking.fresh_keys(), strict=True):
        (folder / name).write_bytes(content)


def _sign(folder: Path) -> object:
    video = folder / ".signed.mp4"
    shutil.copy(demo.clip_path("demo_b"), video)
    try:
        notes = {"tool": "geneface_kit", "version": "1"}
        return marking.sign(video, notes, title="ada", keys=str(folder))
    finally:
        video.unlink()


def _signed(folder: Path) -> None:
    shutil.copy(demo.clip_path("demo_b"), folder / "v.mp4")
    marking.sign(folder / "v.mp4", {"tool": "geneface_kit", "version": "1"}, title="ada")


def _credentials(folder: Path) -> object:
    said = credentials(folder / "v.mp4")
    if said.pop("state", "Invalid") == "Invalid":
        raise Damaged("the credentials are not valid")
    return said


def _clip(folder: Path) -> None:
    shutil.copy(demo.clip_path("demo_b"), folder / "v.mp4")


def _watch(folder: Path) -> object:
    frames = sum(1 for _ in clip.stream_frames(folder / "v.mp4", long_side=32, max_s=1.0))
    sound = clip.sound_of(folder / "v.mp4")
    return frames, len(sound)


def _sound(folder: Path) -> None:
    clip.write_audio(folder / "v.wav", np.sin(np.arange(9000) / 9).astype(np.float32))


def _official(folder: Path) -> None:
    torch.save({"state_dict": {"model": {"a.weight": torch.arange(9.0)}}}, folder / "model.ckpt")


def _edges(folder: Path) -> None:
    import h5py

    with h5py.File(folder / "edges.h5", "w") as file:
        for block, n_layers in enumerate(perceptual.BLOCKS, 1):
            for layer in range(n_layers):
                place = f"block{block}/layers/conv2d{f'_{layer}' if layer else ''}/vars"
                file[f"{place}/0"] = np.ones((3, 3, 2, 2), np.float32)
                file[f"{place}/1"] = np.ones(2, np.float32)


def _memory(folder: Path) -> None:
    with (folder / ".large.bin").open("wb") as file:
        file.truncate(2**24)
    digests({"large": folder / ".large.bin"}, folder / "digests.json")


def _snapshots(folder: Path) -> None:
    keep = head_training.Snapshots(folder, np.zeros((6, 6, 3), np.uint8))
    keep(10, np.full((6, 6, 3), 7, np.uint8), 20.0)


READERS = {
    "arrays": Reader(_arrays, lambda folder: read_npz(folder / "a.npz", ARRAYS)),
    "person": Reader(_person, artefact.load, guard=True),
    "avatar": Reader(_avatar, _load_avatar),
    "weights": Reader(_network, _load_network),
    "checkpoint": Reader(
        _nested, lambda folder: weights.load_nested(folder / "head_checkpoint.safetensors")
    ),
    "motion": Reader(lambda folder: _sealed(SHIPPED, folder, MOTION, SYNC), motion_stage.load),
    "adaptation": Reader(
        lambda folder: _sealed(demo.AVATAR, folder, "adaptation.safetensors"), adaptation_stage.load
    ),
    "snapshots": Reader(_snapshots, head_training.load_snapshots),
    "corpus": Reader(_corpus, _read_corpus),
    "run": Reader(_run, lambda folder: open_run(folder / "ada" / "person-smoke-1").facts),
    "figure of a table": Reader(_figure("demo_bars"), _check_figures),
    "figure of arrays": Reader(_figure("demo_grid"), _check_figures),
    "table": Reader(_table, lambda folder: read_table(folder / "table_a.csv"), guard=True),
    "crate": Reader(_crate, _verify),
    "fetched clip": Reader(_fetched, _read_fetched),
    "consent": Reader(
        _statement, lambda folder: consent_beside(folder / "ada.mp4"), unknowable=True
    ),
    "keys": Reader(_keys, _sign, unknowable=True),
    "credentials": Reader(_signed, _credentials),
    "clip": Reader(_clip, _watch, unknowable=True),
    "recording": Reader(_sound, lambda folder: clip.read_audio(folder / "v.wav"), unknowable=True),
    "official checkpoint": Reader(
        _official, lambda folder: read_checkpoint(folder / "model.ckpt"), unknowable=True
    ),
    "edge network": Reader(
        _edges, lambda folder: perceptual.edge_weights(folder / "edges.h5"), guard=True
    ),
    "digests": Reader(
        _memory, lambda folder: digests({"large": folder / ".large.bin"}, folder / "digests.json")
    ),
}
COVERS = {
    "arrays": """
        geneface_kit.runs.arrays.read_npz
        geneface_kit.person.corpus.build.read
        geneface_kit.person.speech.offset.mouth_from_speech
        figures.truth.truth
        figures.lips.strip_row
        figures.content.domain_groups
        notebooks.studies.unheard_speakers.listening._layers
        notebooks.studies.unheard_speakers.scores.read_unit
    """.split(),
    "person": """
        geneface_kit.runs.arrays.read_npy
        notebooks.studies.speech_driven.seen_of
        geneface_kit.runs.arrays.read_image
        geneface_kit.person.artefact.load
        geneface_kit.person.artefact.assemble
        geneface_kit.person.files.pictures_of
        geneface_kit.person.files.write_labels
        geneface_kit.person.files.write_torso
        geneface_kit.person.files._write_pictures
    """.split(),
    "avatar": """
        geneface_kit.nerf.stage.load
        geneface_kit.nerf.pruning.load_renderer
    """.split(),
    "weights": """
        geneface_kit.runs.weights.load_tensors
        geneface_kit.runs.weights.load_weights
        geneface_kit.runs.weights.read_metadata
        geneface_kit.nerf.stage._train
        geneface_kit.evaluation.scores.cost
        notebooks.studies.unheard_speakers.proof._expert
        notebooks.studies.demo_person.export._write_halved
    """.split(),
    "checkpoint": """
        geneface_kit.runs.weights.load_nested
        geneface_kit.runs.training._load_checkpoint
    """.split(),
    "motion": """
        geneface_kit.motion.weights.load
        geneface_kit.motion.stage.inputs
    """.split(),
    "adaptation": """
        geneface_kit.adaptation.postnet.load
    """.split(),
    "snapshots": """
        geneface_kit.nerf.head_training.load_snapshots
    """.split(),
    "corpus": """
        geneface_kit.person.corpus.store._mapped
        geneface_kit.person.corpus.store._read_index
    """.split(),
    "run": """
        geneface_kit.runs.files.read_json
        geneface_kit.runs.record.open_run
        geneface_kit.runs.record.read_facts
        geneface_kit.pipeline.require._inputs_of_old
        notebooks.studies.demo_person.export.export_avatar
    """.split(),
    "figure of a table": """
        figures.draw
        figures.names
        figures._read_data
        figures._same_picture
        figures.content.training_data
        figures.listing
        notebooks.studies.crates.crate._files
    """.split(),
    "table": """
        figures.tables.read_table
        figures.collect.collect
        figures.collect._method
        figures.records.heads
        figures.records.wrong_records
        notebooks.studies.ablations.ablations.make
        notebooks.studies.ablations.ablations.read_rows
        notebooks.studies.reproduction.workflow._untimed
    """.split(),
    "crate": """
        notebooks.studies.crates.crate.verify
        notebooks.studies.crates.crate._verified
        notebooks.studies.crates.crate._other_numbers
    """.split(),
    "fetched clip": """
        geneface_kit.person.known._unpack
    """.split(),
    "consent": """
        geneface_kit.person.stage.consent_beside
    """.split(),
    "keys": """
        geneface_kit.talk.marking.sign
    """.split(),
    "credentials": """
        figures.credentials.credentials
    """.split(),
    "clip": """
        geneface_kit.person.clip.container.opened
    """.split(),
    "official checkpoint": """
        notebooks.studies.official.read_checkpoint
        geneface_kit.metrics.syncnet.load
        geneface_kit.metrics.perceptual.fd_mobilenet
    """.split(),
    "edge network": """
        geneface_kit.metrics.perceptual.edge_weights
    """.split(),
    "digests": """
        geneface_kit.runs.files.digests
    """.split(),
}
"""Reader -> the functions that are fuzzed by it: they read by its door alone, or are it."""
KITS_OWN = """
    geneface_kit.adaptation.domains.shipped_voices
    figures.pages.published
    geneface_kit.metrics.networks._from_package
    geneface_kit.person.known._clips
    geneface_kit.person.speech.conformer.load_conformer
    geneface_kit.pipeline.settings.profile_values
    geneface_kit.runs.files.read_rows
    geneface_kit.render.kernels._block_kernel
    geneface_kit.runs.record.root
    figures.phonemes._symbols
    notebooks.studies.dependencies.licence_of
    notebooks.studies.dependencies.pins
    notebooks.studies.demo_person.sample.write_sample
""".split()
"""Functions that read only what came with the kit or another package."""
OWN_WRITTEN = """
    geneface_kit.person.clip.video.write_video
    figures.report._charts
    geneface_kit.runs.files.write_json
    geneface_kit.runs.weights.save_tensors
    geneface_kit.runs.record.record
    geneface_kit.runs.record.execute
    geneface_kit.talk.marking.provenance
    figures.live.video
    notebooks.execution.keep
    notebooks.execution.refresh
    notebooks.studies.budgets.budgets
    notebooks.studies.demo_person.__main__.record
    notebooks.studies.speed.__main__._keep
    notebooks.studies.speed.endurance.measure
    notebooks.studies.speed.endurance.watch
    notebooks.studies.speed.person.processor
""".split()
"""Functions that read only what they wrote a moment ago, bytes as they are, or the system's."""
