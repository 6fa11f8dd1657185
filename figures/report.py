"""Report: one page about a prepared person: verdict, what to do, and what it rests on.

Plain HTML with its pictures inside: it loads nothing, runs no script and leaves its colours to the
reader, so that it reads the same in a notebook, on a code host and on a dark screen.
"""

import html
import io
from collections.abc import Iterable
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib.figure import Figure
from PIL import Image

from geneface_kit.metrics.formulas import pearson
from geneface_kit.person import clip
from geneface_kit.person.artefact import Person
from geneface_kit.person.camera import euler_degrees
from geneface_kit.person.mouth import (
    LIPS,
    mouth_cells,
    mouth_opening,
    mouth_shape,
    shown_cells,
)
from geneface_kit.person.segmentation import FREE
from geneface_kit.person.spans import ONE, evenly_spaced, stretches
from geneface_kit.person.speech.offset import CLEAR_CONFIDENCE
from geneface_kit.person.tracking.track import Track
from geneface_kit.runs.files import Facts, read_rows
from geneface_kit.runs.live import html_image

__all__ = [
    "LABEL_COLOURS",
    "MEASURED",
    "expectation",
    "flicker",
    "label_flicker",
    "label_tint",
    "mouth_windows",
    "page",
    "panels",
    "pose_leak",
    "rows",
]

MEASURED = {"seconds": 20.0, "source_face_px": 193.0, "blur": 0.39, "mouth_shapes_common": 0.95}
"""The clip behind the README's numbers: obama, 20 s, profile cpu, see figures/road_obama.json."""

LABEL_COLOURS = np.array([[40, 40, 48], [230, 140, 90], [240, 210, 80], [80, 130, 200]], np.uint8)
"""Colour of background, head, neck and torso in pictures of labels."""
N_PICTURES, SIDE = 6, 192
"""Columns of pictures, and their side in pixels."""
GREY = "#7f7f7f"
"""Of lines and letters in charts: as far from white as from black, contrast 4 to both."""
CHARTS = dict.fromkeys(
    ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), GREY
) | {"axes.facecolor": "none", "figure.facecolor": "none", "legend.framealpha": 0}
CAPTION = (
    "Dots: the 68 landmarks. Colours: head orange, neck yellow, torso blue, pale where "
    "training decides. Last row: the torso painted on behind the chin, over the background."
)


def page(who: Person) -> str:
    """The report as a whole HTML document, light or dark as its reader has it."""
    title = html.escape(f"{who.name}: report")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f'<meta name="color-scheme" content="light dark"><title>{title}</title></head>\n'
        '<body style="max-width:860px;margin:0 auto;padding:16px;font-family:system-ui,sans-serif">'
        f"\n{panels(who)}\n</body></html>\n"
    )


def panels(who: Person) -> str:
    """The report as an HTML fragment, for a notebook's cell."""
    report = who.report
    parts = [
        f"<h1>{html.escape(f'{who.name} ({who.data_kind} person)')}</h1>",
        f"<p><strong>{html.escape(report['verdict'])}</strong>: {report['seconds']:.1f} s, "
        f"{len(who)} frames of {who.size} x {who.size} pixels</p>",
        "<h2>What to do</h2>",
        _doubts(who) if report["reasons"] else "<p>Nothing stands in the way.</p>",
        "<h2>What was found or repaired on the way</h2>" if report["warnings"] else "",
        *(f"<p>{_sentence(one)}</p>" for one in report["warnings"]),
        f"<h2>What to expect</h2><p>{html.escape(expectation(report))}</p>",
        "<h2>What was made of it</h2>",
        html_image(_pictures(who), "jpeg", "frames with landmarks, labels, torso pictures"),
        f"<p>{CAPTION}</p>",
        html_image(_charts(who), "png", "head pose, sound offset, mouth opening, mouth shapes"),
        "<details><summary>All measures</summary>",
        _table(map(html.escape, row) for row in rows(who)),
        "</details>",
    ]
    return "\n".join(filter(None, parts))


def label_tint(
    frame: UInt8[np.ndarray, "h w 3"],
    labels: UInt8[np.ndarray, "h w"],
    kinds: UInt8[np.ndarray, "h w"],
) -> UInt8[np.ndarray, "h w 3"]:
    """A frame in the colours of its labels, pale where they are free."""
    colours = LABEL_COLOURS[labels]
    free = (kinds == FREE)[..., None]
    return (0.55 * frame + 0.45 * np.where(free, 255 - (255 - colours) // 4, colours)).astype(
        np.uint8
    )


def mouth_windows(
    mouth: Float[np.ndarray, "t 2"],
    spans: Int[np.ndarray, " k"] = ONE,
    *,
    enough: float = 0.9,
    most: int = 8,
) -> tuple[list[float], float]:
    """Where the one-second windows start, best first, that together show a share of the clip's own
    mouth shapes (opening and width given), seconds; and that share.

    The choice is greedy: windows start at multiples of a fifth of a second of a stretch and end in
    it; each next one adds the most shapes that are not yet shown, until `enough` of them are, or
    `most` are chosen.
    """
    cells = [*map(tuple, mouth_cells(mouth))]
    own, seen, windows = set(zip(*np.nonzero(shown_cells(mouth)), strict=True)), set(), []
    sets = {
        start: own & set(cells[start : start + clip.FPS])
        for part in stretches(spans, len(mouth))
        for start in range(part.start, max(part.start, part.stop - clip.FPS) + 1, clip.FPS // 5)
    }
    while len(seen) < enough * len(own) and len(windows) < most:
        best = max(sets, key=lambda start: len(sets[start] - seen))
        if sets[best] <= seen:
            break
        windows.append(best / clip.FPS)
        seen |= sets[best]
    return windows, len(seen) / max(1, len(own))


def rows(who: Person) -> list[tuple[str, str, str]]:
    """(measure, value, what it means) for every line of the report's table, see report.csv."""
    report, mouth = who.report, mouth_shape(who.landmarks)
    windows, reach = mouth_windows(mouth, who.spans)
    still = report["background_still_frame"] >= 0
    told = report | {name: _of_clips(report, f"{name}_s") for name in ("taken", "usable", "cuts")}
    told |= {
        "background": "one moment is kept, the medoid"
        if still
        else "put together from all moments",
        "windows": ", ".join(f"{start:.1f}" for start in sorted(windows)),
        "windows_reach": reach,
        "missing": report["mouth_shapes_missing"] or "-",
        "label_flicker": label_flicker(who),
        "pose_leak": pose_leak(who),
    }
    lines = read_rows(Path(__file__).with_name("report.csv"))
    return [
        (one["measure"], one["value"].format_map(told), one["meaning"].format_map(told))
        for one in lines
    ]


def flicker(
    frames: UInt8[np.ndarray, "t h w 3"],
    labels: UInt8[np.ndarray, "t h w"],
    *,
    still_level: float = 4.0,
) -> float:
    """Share of the still pixels near the person's edges whose label changes from frame to frame.

    Still: the colour (mean over 3 x 3 pixels) changes by less than `still_level` of 255. Near:
    another label lies within 3 pixels in one of the two frames.
    """
    soft = np.stack([cv2.blur(frame, (3, 3)) for frame in frames]).astype(np.int16)
    window = np.ones((7, 7), np.uint8)
    edge = np.stack([cv2.morphologyEx(one, cv2.MORPH_GRADIENT, window) > 0 for one in labels])
    near = (np.abs(np.diff(soft, axis=0)).max(-1) < still_level) & (edge[1:] | edge[:-1])
    return float((near & (labels[1:] != labels[:-1])).sum() / max(1, near.sum()))


def label_flicker(who: Person) -> float:
    """The mean `flicker` of pairs of neighbours all over the clip."""
    some = [t for t in evenly_spaced(len(who), 25).tolist() if t + 1 < len(who)]
    pairs = [slice(t, t + 2) for t in some if t + 1 not in who.spans]
    return float(np.mean([flicker(who.frames[pair], who.labels[pair]) for pair in pairs]))


def pose_leak(who: Person | Track) -> dict[str, float]:
    """How much of the head's motion is left in the pose-free landmarks; all 0 at best.

    opening_yaw, opening_pitch: correlation of the mouth's opening (inner lips) with the head's
    turn and nod. lips_yaw, lips_pitch: mean size of the correlation over the 60 coordinates of the
    lips. jaw_still: rms motion of the jaw line, eye distances, in the quarter of the frames in
    which the lips are most nearly closed, so that little but the head moves; turn_still: rms turn
    and nod in these frames, degrees.
    Speakers nod with their words: a correlation of a few tenths need not be a leak.
    """
    points = who.landmarks
    lips = points[:, LIPS].reshape(len(points), -1).astype(np.float64)
    pitch, yaw, _ = euler_degrees(who.poses).T.astype(np.float64)
    opening = mouth_opening(points.astype(np.float64))
    still = opening <= np.percentile(opening, 25)
    jaw, turns = points[still, :17], np.stack([pitch, yaw], 1)[still]
    leak = {}
    for name, angle in (("yaw", yaw), ("pitch", pitch)):
        leak[f"opening_{name}"] = pearson(opening, angle, still=0.0)
        leak[f"lips_{name}"] = float(np.mean([abs(pearson(x, angle, still=0.0)) for x in lips.T]))
    leak["jaw_still"] = float(np.sqrt(((jaw - jaw.mean(0)) ** 2).sum(-1).mean()))
    leak["turn_still"] = float(np.sqrt(((turns - turns.mean(0)) ** 2).sum(-1).mean()))
    return leak


def expectation(report: Facts) -> str:
    """What quality to expect, against one of the clips that were measured (Table A: obama)."""
    if report["verdict"] == "not usable":
        return "Nothing useful: see the reasons."
    basis = (
        "Measured with 20 s of a face 193 px high, profile cpu: 30.9 dB on held-out heads "
        "and lips 1.3 px off in a picture of 512 px from tracked landmarks, 28.8 dB and 2.8 px "
        "from the recording alone; heads of three other clips had 23.6 to 33.9 dB from landmarks."
    )
    shapes = report["mouth_shapes_common"]
    reasons = {
        "less speech": report["seconds"] < 0.9 * MEASURED["seconds"],
        "a smaller face": report["source_face_px"] < 0.9 * MEASURED["source_face_px"],
        "more blur": report["blur"] > MEASURED["blur"] + 0.05,
        "fewer mouth shapes": shapes < MEASURED["mouth_shapes_common"] - 0.1,
        "a moving background": report["background_still_frame"] >= 0,
        "a doubtful sound": report["offset_confidence"] < CLEAR_CONFIDENCE,
    }
    worse = ", ".join(name for name, applies in reasons.items() if applies)
    if worse:
        return f"{basis} This clip has {worse}: expect worse; how much is not known."
    return f"{basis} This clip is no worse in what is measured here: expect about as much."


def _doubts(who: Person) -> str:
    """Each reason of the verdict beside the frame that it speaks of."""
    lines = []
    for why, frame in zip(who.report["reasons"], who.report["reason_frames"], strict=True):
        picture, text = "", _sentence(why)
        if frame >= 0:
            picture = html_image(_small(who.frames[frame]), "jpeg", f"frame {frame}", SIDE // 2)
            text += f" At {_moment(who.report, frame)}."
        lines.append((picture, text))
    return _table(lines)


def _sentence(text: str) -> str:
    return html.escape(text[:1].upper() + text[1:]) + "."


def _moment(report: Facts, frame: int) -> str:
    """Where in its clip a prepared frame is."""
    for one in report["clips"]:
        for start, stop in one["taken_s"]:
            if frame < (n_frames := round((stop - start) * clip.FPS)):
                name = f" of {html.escape(one['file'])}" * (len(report["clips"]) > 1)
                return f"{start + frame / clip.FPS:.2f} s{name}"
            frame -= n_frames
    raise ValueError(f"the person has no frame {frame}")


def _of_clips(report: Facts, name: str) -> str:
    """Times or stretches of every clip, after its file's name where there are several."""
    words = []
    for one in report["clips"]:
        spans = [span if isinstance(span, list) else [span] for span in one[name]]
        times = [f"{' to '.join(f'{t:.2f}' for t in span)} s" for span in spans]
        if times:
            words.append(f"{one['file']} " * (len(report["clips"]) > 1) + ", ".join(times))
    return "; ".join(words) or "none"


def _table(lines: Iterable[Iterable[str]]) -> str:
    """A table of cells of HTML, to the left where a notebook's style has them to the right."""
    cells = (
        "<tr>" + "".join(f'<td style="text-align:left">{cell}</td>' for cell in line) + "</tr>"
        for line in lines
    )
    return "<table>" + "".join(cells) + "</table>"


def _small(picture: UInt8[np.ndarray, "h w 3"]) -> Image.Image:
    return Image.fromarray(cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA))


def _pictures(who: Person) -> Image.Image:
    """Rows of pictures: frames with landmarks, labels over frames, torso over background."""
    columns = []
    for t in evenly_spaced(len(who), N_PICTURES):
        frame, torso = np.array(who.frames[t]), np.array(who.torso[t])
        tinted = label_tint(frame, who.labels[t], who.kinds[t])
        behind = np.where(torso[..., 3:] > 0, torso[..., :3], who.background)
        column = [np.array(_small(one)) for one in (frame, tinted, behind)]
        x, y = (who.landmarks2d[t] * SIDE / who.size).astype(int).clip(0, SIDE - 1).T
        column[0][y, x] = (80, 255, 80)
        columns.append(np.concatenate(column))
    return Image.fromarray(np.concatenate(columns, axis=1))


def _charts(who: Person) -> Image.Image:
    """Head pose, offset curve, mouth opening with the seconds of most shapes, and the shapes."""
    report, time = who.report, np.arange(len(who)) / clip.FPS
    mouth = mouth_shape(who.landmarks)
    opening, width = mouth.T
    drawn = io.BytesIO()
    with mpl.rc_context(CHARTS):
        figure = Figure(figsize=(8.6, 4.4), layout="constrained")
        axes = figure.subplot_mosaic("aab;ccd")
        axes["a"].plot(time, euler_degrees(who.poses), label=[*report["pose_degrees"]])
        axes["a"].legend(ncols=3, loc="lower left", bbox_to_anchor=(0, 1), labelcolor=GREY)
        axes["a"].set(xlabel="s", ylabel="head pose, degrees")
        axes["b"].plot(report["offset_lags_s"], report["offset_curve"])
        axes["b"].axvline(report["offset_s"], color="C3")
        axes["b"].set(xlabel="s; positive: the sound is late", ylabel="correlation with the lips")
        axes["c"].plot(time, opening)
        for start in mouth_windows(mouth, who.spans)[0]:
            axes["c"].axvspan(start, start + 1, alpha=0.2)
        axes["c"].set(xlabel="s; shaded: most mouth shapes", ylabel="opening, eye distances")
        axes["d"].scatter(width - np.median(width), opening, s=4)
        axes["d"].locator_params("x", nbins=5)
        axes["d"].set(xlabel="mouth width less its median", ylabel="opening")
        figure.savefig(drawn, format="png", dpi=100)
    return Image.open(drawn).quantize(64, method=Image.Quantize.FASTOCTREE)
