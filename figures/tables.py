"""Tables: what an evaluation wrote, read again, for pages, figures and studies."""

from pathlib import Path

import pandas as pd

from geneface_kit.runs.files import readable


def read_table(path: Path) -> pd.DataFrame:
    """A table as text cells, as `evaluation.tables.write_table` wrote it.

    Raises: FileNotFoundError, Damaged.
    """
    with readable(path):
        return pd.read_csv(path, dtype=str, keep_default_na=False)
