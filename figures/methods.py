"""Methods: what each row of the table of ablations is compared with, and by what it is measured."""

from dataclasses import dataclass

from geneface_kit.pipeline import methods


@dataclass(frozen=True)
class Method:
    """One row of the table of ablations.

    about: what is other, in a few words; beside: the method it is compared with, which differs in
    this alone; measured: "landmarks", which needs no picture, or "pictures".
    """

    about: str
    beside: str
    measured: str


METHODS = {
    row["name"]: Method(row["about"], row["beside"], row["measured"]) for row in methods.ROWS
}
"""Name of a method -> its row; what it sets, `geneface_kit.pipeline.methods` says."""
