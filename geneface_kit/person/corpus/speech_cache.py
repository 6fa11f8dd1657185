"""Speech cache: only the speech of a folder's clips, encoded once, mapped from disk ever after.

speech-ENCODER/ beside the corpus holds features.npy (s, c), f0.npy (s,) and mel.npy (s, 80), the
clips one after the other, and index.json, which says whose rows are whose. Nothing of it is read
into memory before it is used.
"""

import logging
from pathlib import Path

from filelock import FileLock

from geneface_kit import runs
from geneface_kit.person import clip, speech
from geneface_kit.person.corpus.manifest import (
    SCHEMA,
    CorpusConfig,
    clip_paths,
    corpus_folder,
    digest,
    encoder_version,
    file_stamp,
)
from geneface_kit.person.corpus.shards import INDEX, array_folder, map_arrays, read_index
from geneface_kit.runs import live

log = logging.getLogger(__name__)

ARRAYS = ("features", "f0", "mel")


def cached_speech(config: CorpusConfig, *, out: Path | str = "") -> list[speech.Speech]:
    """The speech of every clip of the folder, for stages that need no faces: views of maps.

    Clips without sound or with unusable sound are left out; the latter are warned of. A folder
    that has changed, or arrays that were cut short, are encoded anew. out: the folder of all
    corpora, default runs/corpus. Raises: ValueError when no clip has usable sound.
    """
    paths = clip_paths(config.folder)
    home = corpus_folder(config, out)
    home = home.with_name(f"speech-{home.name.rpartition('-')[0]}")
    stamps = [[path.name, *file_stamp(path), *file_stamp(path.with_suffix(".wav"))]
              for path in paths]  # fmt: skip
    key = digest([SCHEMA, stamps, encoder_version(config.encoder)])[:16]
    home.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{home}.lock"):
        index, maps = read_index(home), map_arrays(home, ARRAYS)
        if index is None or maps is None or index["key"] != key:
            index = {"schema": SCHEMA, "key": key} | _encode(home, paths, config.encoder)
            runs.write_json(home / INDEX, index)
            maps = map_arrays(home, ARRAYS)
    for file, reason in index["broken"].items():
        log.warning("the sound of %s is left out: %s", file, reason)
    return [
        speech.Speech(
            **{name: maps[name][start:stop] for name in ARRAYS},
            encoder=config.encoder,
            version=index["version"],
        )
        for start, stop in index["clips"]
    ]


def _encode(home: Path, paths: list[Path], encoder: str) -> dict[str, object]:
    """Writes the arrays, one clip in memory at a time; returns what the index says of them."""
    version, clips, broken = "", [], {}
    with array_folder(home, ARRAYS) as arrays:
        for path in live.progress(paths, "encoding the corpus' speech"):
            try:
                audio = clip.sound_of(path)
                spoken = None if audio is None else speech.encode(audio, encoder)
            except ValueError as error:
                broken[path.name] = str(error)
                continue
            if spoken is not None:
                start = [arrays[name].append(getattr(spoken, name)) for name in ARRAYS][0]
                clips.append([start, start + len(spoken)])
                version = spoken.version
        if not clips:
            raise ValueError("no clip of the corpus has usable sound; put talking clips there")
    return {"version": version, "clips": clips, "broken": broken}
