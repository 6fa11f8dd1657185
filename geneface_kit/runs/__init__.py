"""Runs: what every stage stands on: run folders, files, the training loop, live displays."""

from geneface_kit.runs.files import replacing, sha256, write_json
from geneface_kit.runs.record import Run, data_places, open_run, root
