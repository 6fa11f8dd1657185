"""Pages: tables of numbers with their origin -> html and LaTeX, beside published numbers.

The tables are those of `geneface_kit.evaluation.tables`. A row is ours, with run ids, or published,
with its source; never both.
"""

import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from geneface_kit_figures.tables import read_table

from geneface_kit.evaluation.tables import METRICS
from geneface_kit.runs import replacing

TITLES = {
    "a": "Table A: reconstruction of held-out frames",
    "b": "Table B: lip sync to other recordings",
    "c": "Table C: ablations",
    "d": "Table D: cost",
}
SETTINGS = {
    "full video": (
        "geneface_table_1",
        "head_reconstruction",
        "self_driven_2026",
        "self_driven_talkinggaussian",
        "self_driven_pdgs",
        "self_driven_ggtalker",
        "self_driven_ua3dtalk",
    ),
    "a few seconds": ("few_second_self_driven",),
    "cross-driven": (
        "cross_subject_lip_sync",
        "cross_driven_2026",
        "cross_driven_ggtalker",
        "vasa3d_comparison",
    ),
}
"""Setting -> published tables of that kind: minutes of a person, seconds, the sound of others."""
BESIDE = {
    "a": ("head_reconstruction",),
    "b": ("cross_subject_lip_sync",),
    "d": ("head_reconstruction",),
}
SIGNS = {
    "—": "---",
    "±": r"$\pm$",
    "²": r"\textsuperscript{2}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
}
"""Signs that pdfLaTeX does not set by itself."""
KEYS = ["origin", "method", "setting", "n", "data", "source"]  # the columns of text
COST = ("train_hours", "FPS", "training minutes", "parameters", "peak memory")
SECOND_HAND = "published, second-hand"


def published() -> pd.DataFrame:
    """Published numbers, one per row, each with the paper and table it is quoted from.

    origin: "published", or "published, second-hand" for what was read in somebody's notes.
    """
    found = read_table(Path(__file__).with_name("published_results.csv"))
    second_hand = found["source"].str.contains("as noted in", regex=False)
    return found.assign(origin=second_hand.map({False: "published", True: SECOND_HAND}))


def write_pages(path: Path, ours: pd.DataFrame, name: str) -> None:
    """The table as html and as LaTeX beside its csv file `path`."""
    for ending, text in ((".html", to_html(ours, name)), (".tex", to_latex(ours, name))):
        with replacing(path.with_suffix(ending)) as partial:
            partial.write_text(text)


def beside_published(
    ours: pd.DataFrame, name: str, beside: Sequence[str] | None = None
) -> pd.DataFrame:
    """A wide table: our rows first, the published ones under them, metrics as columns.

    beside: the published tables, those of BESIDE when None.

    A row is either ours, with its run ids and the number n of its frames, or published, with its
    source: never both. Rows that differ in their seed alone become one, mean ± standard deviation.
    """
    quoted = published()
    quoted = quoted[quoted["table"].isin(BESIDE.get(name, ()) if beside is None else beside)]
    quoted = quoted[quoted["metric"].isin(COST) == (name == "d")]
    columns = list(dict.fromkeys([*ours["metric"], *quoted["metric"]]))
    left = _over_seeds(ours).assign(origin="ours")[[*KEYS, "metric", "value"]]
    right = quoted.assign(n="—", data="real")[[*KEYS, "metric", "value"]]
    rows = pd.concat([left, right]).drop_duplicates([*KEYS, "metric"])
    order = rows[KEYS].drop_duplicates().apply(tuple, axis=1).tolist()
    wide = rows.pivot(index=KEYS, columns="metric", values="value").reindex(columns=columns)
    return wide.loc[order].fillna("—").reset_index().rename_axis(columns=None)


def to_html(
    ours: pd.DataFrame,
    name: str,
    beside: Sequence[str] | None = None,
    *,
    links: Mapping[str, str] | None = None,
) -> str:
    """The wide table as html, titled, with definitions and reasons under it.

    links: run id -> address of the run's page, as `run_page.links` gives them; runs without an
    address are named only.
    """
    listed = "".join(f"<li>{html.escape(note)}</li>" for note in _notes(ours))
    wide = beside_published(ours, name, beside).rename(columns=_header)
    cells = wide.to_html(index=False, border=0)
    for run_id, address in (links or {}).items():
        short, where = _short_ids(run_id), html.escape(address, quote=True)
        said = f'<a href="{where}" title="{html.escape(run_id, quote=True)}">{short}</a>'
        cells = re.sub(rf"(?<![\w-]){re.escape(short)}(?![\w-])", lambda _, to=said: to, cells)
    title = html.escape(f"{TITLES[name]} ({_kinds(ours)})")
    return f"<h3>{title}</h3>\n{cells}\n<ul>{listed}</ul>\n"


def to_latex(ours: pd.DataFrame, name: str) -> str:
    """The wide table as a table environment, with definitions and reasons under it.

    Needs \\usepackage{booktabs,graphicx}; a cell that was not measured says so in words.
    """
    wide = beside_published(ours, name)
    columns = "l" * len(KEYS) + "r" * (wide.shape[1] - len(KEYS))
    shown = wide.rename(columns=_header).style.hide(axis="index")
    shown = shown.format(escape="latex").format_index(escape="latex", axis=1)
    tabular = shown.to_latex(hrules=True, column_format=columns).strip()
    ruled = _rule_between(tabular, int((wide["origin"] == "ours").sum()))
    lines = [
        r"\begin{table}",
        rf"\caption{{{_escaped(f'{TITLES[name]} ({_kinds(ours)})')}}}",
        r"\resizebox{\textwidth}{!}{%",
        ruled + "}",
        r"\par\footnotesize",
        *[rf"{_escaped(note)}\par" for note in _notes(ours)],
        r"\end{table}",
    ]
    return _signs("\n".join(lines)) + "\n"


def listing(lines: Mapping[str, str]) -> str:
    """Names and what is said of each, as an html table of two columns, nothing cut off."""
    left = "style='text-align: left'"
    cells = [
        f"<tr><th>{html.escape(name)}</th><td {left}>{html.escape(text)}</td></tr>"
        for name, text in lines.items()
    ]
    return f"<table>{''.join(cells)}</table>"


def _kinds(ours: pd.DataFrame) -> str:
    """What kind of data a table holds, for its title: "synthetic data"."""
    return f"{' and '.join(sorted(set(ours['data_kind']))) or 'no'} data"


def _header(column: str) -> str:
    """A column's name with its unit and the better direction: "LMD" gives "LMD [px] ↓"."""
    if column not in METRICS:
        return column
    metric = METRICS[column]
    unit = f" [{metric['unit']}]" if metric["unit"] else ""
    return column + unit + {"higher": " ↑", "lower": " ↓", "": ""}[metric["better"]]


def _notes(ours: pd.DataFrame) -> list[str]:
    """What stands under a table: each metric's definition, and why it was not measured."""
    reasons = ours[ours["reason"] != ""].groupby("metric")["reason"].unique()
    lines = []
    for metric in dict.fromkeys(ours["metric"]):
        defined = f"{metric}: {METRICS[metric]['text']}" if metric in METRICS else metric
        why = "; ".join(reasons.get(metric, []))
        lines.append(f"{defined}. Not measured: {why}." if why else f"{defined}.")
    return lines


def _over_seeds(ours: pd.DataFrame) -> pd.DataFrame:
    """Our rows with the columns of a wide table, one for all seeds of the same thing."""
    cells = ours.assign(
        setting=ours["person"] + ", " + ours["protocol"],
        data=ours["data_kind"] + ", " + ours["profile"],
        n=ours["n_frames"].where(ours["n_frames"] != "0", "—"),
    )
    same = ["method", "setting", "n", "data"]
    # pictures and landmarks of one run may be of different numbers of frames: one row tells both
    numbers = cells.groupby(["method", "setting", "data"], sort=False)["n"]
    cells["n"] = numbers.transform(lambda one: "; ".join(dict.fromkeys(one)))
    sources = cells.groupby(same, sort=False).apply(_source, include_groups=False)
    lines = []
    for key, group in cells.groupby([*same, "metric"], sort=False):
        place = dict(zip([*same, "metric"], key, strict=True))
        source = sources[key[:-1]]
        lines.append(place | {"value": spread(list(group["value"])), "source": source})
    return pd.DataFrame(lines, columns=[*same, "metric", "value", "source"])


def _source(rows: pd.DataFrame) -> str:
    seeds = list(dict.fromkeys(rows["seed"]))
    ids = _short_ids(" ".join(rows["runs"]))
    return f"runs {ids}" + (f", seeds {' '.join(seeds)}" if len(seeds) > 1 else "")


def spread(values: list[str]) -> str:
    """One value as it is; several as mean ± standard deviation; a missing one leaves the words."""
    missing = [value for value in values if number(value) is None]
    if missing:
        return missing[0]
    numbers = [float(value) for value in values]
    if len(numbers) == 1:
        return _short(numbers[0])
    return f"{_short(float(np.mean(numbers)))} ± {np.std(numbers, ddof=1):.2g}"


def _short(number: float) -> str:
    """Four digits; all of them, with commas, of a large one: 0.9235, 2,723,050."""
    return f"{number:,.0f}" if 1e4 <= abs(number) < np.inf else f"{number:.4g}"


def number(value: str) -> float | None:
    """What a cell of a table says as a number; None for words."""
    try:
        return float(value)
    except ValueError:
        return None


def _short_ids(ids: str) -> str:
    """Stage and digest of each run; person and profile stand in columns of their own."""
    parts = [run_id.split("-") for run_id in ids.split()]
    return " ".join(dict.fromkeys(f"{part[0]}-{part[-1]}" for part in parts))


def _rule_between(tabular: str, n_ours: int) -> str:
    """A rule between our rows and the published ones, if there are any."""
    lines = tabular.splitlines()
    end = lines.index(r"\midrule") + 1 + n_ours
    if lines[end] != r"\bottomrule":
        lines.insert(end, r"\midrule")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {sign: "\\" + sign for sign in "&%$#_{}"}
    return "".join(special.get(letter, letter) for letter in text)


def _signs(text: str) -> str:
    for sign, written in SIGNS.items():
        text = text.replace(sign, written)
    return text
