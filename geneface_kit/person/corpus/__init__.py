"""Corpus: a folder of talking videos -> speech and landmarks of many speakers, for motion and sync.

`manifest` lists the clips, `build` reads them, `store` keeps them; `batches` is what training
draws. A broken clip is listed in broken.csv, never fatal.
"""

from geneface_kit.person.corpus.batches import (
    Displacement,
    Sequences,
    Track,
    check_unit,
    displacements,
    draw_batch,
    feature_statistics,
)
from geneface_kit.person.corpus.build import cached_speech, prepare
from geneface_kit.person.corpus.manifest import CorpusConfig, clip_files
from geneface_kit.person.corpus.store import Corpus, Utterance, duplicates, open_corpus
