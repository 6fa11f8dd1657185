"""Report: one page about a prepared person: verdict, what to do, and what it rests on.

Plain HTML with its pictures inside: it loads nothing, runs no script and leaves its colours to the
reader, so that it reads the same in a notebook, on a code host and on a dark screen.
"""

import base64
import html
import io

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from geneface_kit.person import clip, quality
from geneface_kit.person.artefact import Person
from geneface_kit.person.camera import euler_degrees
from geneface_kit.person.files import evenly_spaced
from geneface_kit.person.mouth import mouth_shape
from geneface_kit.runs.files import Facts

LABEL_COLOURS = np.array([[40, 40, 48], [230, 140, 90], [240, 210, 80], [80, 130, 200]], np.uint8)
"""Colour of background, head, neck and torso in pictures of labels."""
N_PICTURES = 6
CAPTION = (
    "Dots: the 68 landmarks. Colours: head orange, neck yellow, torso blue. Last row: the torso "
    "painted on behind the chin, over the background."
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
        f"<h1>{html.escape(who.name)} ({who.data_kind} person)</h1>",
        f"<p><strong>{report['verdict']}</strong>: {report['seconds']:.1f} s, {len(who)} frames of "
        f"{who.size} x {who.size} pixels</p>",
        _list("What to do", report["reasons"], "Nothing stands in the way."),
        _list("What was found or repaired on the way", report["warnings"], "Nothing."),
        f"<h2>What to expect</h2><p>{html.escape(quality.expectation(report))}</p>",
        "<h2>Frames, segmentation, torso picture</h2>",
        _image(_pictures(who), "jpeg", "frames, labels, torso pictures"),
        f"<p>{CAPTION}</p>",
        "<h2>Sound, pose and mouth</h2>",
        _image(_charts(who), "png", "offset, head pose, mouth opening, mouth shapes, pose leak"),
        "<h2>All measures</h2>",
        _table(rows(report)),
    ]
    return "\n".join(parts)


def rows(report: Facts) -> list[tuple[str, str, str]]:
    """(measure, value, what it means) for every line of the report's table."""
    angles = report["pose_degrees"]
    leak, smooth = report["pose_leak"], report["smoothing"]
    source, confidence = report["source"], report["offset_confidence"]
    windows = ", ".join(f"{start:.1f}" for start in sorted(report["mouth_windows_s"]))
    still = report["background_still_frame"] >= 0
    how_background = "one moment is kept, the medoid" if still else "put together from all moments"
    return [
        ("source", f"{source['width']} x {source['height']}, {source['fps']:g} fps", ""),
        ("taken", _of_clips(report, "taken_s"), "one person, one framing"),
        ("usable stretches", _of_clips(report, "usable_s"), "one face, gaps up to 0.4 s, no cut"),
        ("cuts", _of_clips(report, "cuts_s"), "no window in time crosses one"),
        ("detection", f"{report['detection_rate']:.1%}", "frames in which a face is found"),
        ("face", f"{report['source_face_px']:.0f} px", "brows to chin in the source; 120 and more"),
        ("head", f"{report['head_px']:.0f} px", "hair to chin in the prepared picture"),
        ("head in the picture", f"{report['head_in_picture']:.0%}", "frames without a cut head"),
        *(
            (name, f"{low:+.0f} to {high:+.0f} degrees", text)
            for (name, (low, high)), text in zip(
                angles.items(), ("nod, 2nd to 98th percentile", "turn", "tilt"), strict=True
            )
        ),
        ("tracking error", f"{report['tracking_error_px']:.2f} px", "rigid points, reprojected"),
        ("focal length", f"{report['focal_widths']:.2f} widths", "one for the clip"),
        ("blur", f"{report['blur']:.2f}", "of the face at 100 px or less; 0 sharp, 1 blurred"),
        ("brightness", f"{report['brightness']:.0%}", "of the head, of full scale"),
        ("exposure", f"{report['exposure_change']:.1%}", "change of that brightness"),
        ("background", f"{report['background_moving']:.1%} moves", how_background),
        (
            "background seen",
            f"{report['background_seen']:.0%}",
            "pixels of it ever uncovered",
        ),
        ("label flicker", f"{report['label_flicker']:.1%}", "still pixels by an edge that change"),
        ("sound late by", f"{report['offset_s']:+.2f} s", f"confidence {confidence:.2f} of 1"),
        ("loudness", f"{report['loudness_rms']:.3f}", "rms, of full scale"),
        (
            "lip closure",
            f"{smooth['closure_before']:.3f} to {smooth['closure_after']:.3f}",
            "depth before and after smoothing in time, eye distances",
        ),
        (
            "opening variance",
            f"{smooth['opening_variance_before']:.2e} to {smooth['opening_variance_after']:.2e}",
            "before and after smoothing in time",
        ),
        (
            "pose leak",
            f"opening: {leak['opening_yaw']:+.2f} yaw, {leak['opening_pitch']:+.2f} pitch",
            f"correlation with the head's pose; all lip coordinates {leak['lips_yaw']:.2f}, "
            f"{leak['lips_pitch']:.2f}; who nods with the words has some without a leak",
        ),
        (
            "jaw while only the head turns",
            f"{leak['jaw_still']:.3f} eye distances",
            f"rms, in frames with lips closed, turned by {leak['turn_still']:.1f} degrees rms",
        ),
        (
            "mouth shapes",
            f"{report['mouth_shapes']}",
            f"{report['mouth_windows_reach']:.0%} of them in {len(report['mouth_windows_s'])} s, "
            f"the seconds from {windows} s",
        ),
        (
            "common mouth shapes",
            f"{report['mouth_shapes_common']:.0%}",
            "of the shapes that most speakers show; few: "
            + (report["mouth_shapes_missing"] or "-"),
        ),
    ]


def _of_clips(report: Facts, name: str) -> str:
    """Times or stretches of every clip, after its file's name where there are several."""
    words = []
    for one in report["clips"]:
        spans = [span if isinstance(span, list) else [span] for span in one[name]]
        times = [f"{' to '.join(f'{t:.2f}' for t in span)} s" for span in spans]
        if times:
            words.append(f"{one['file']} " * (len(report["clips"]) > 1) + ", ".join(times))
    return "; ".join(words) or "none"


def _list(title: str, items: list[str], otherwise: str) -> str:
    if not items:
        return f"<h2>{title}</h2><p>{otherwise}</p>"
    lines = "".join(f"<li>{html.escape(item[:1].upper() + item[1:])}.</li>" for item in items)
    return f"<h2>{title}</h2><ul>{lines}</ul>"


def _table(lines: list[tuple[str, str, str]]) -> str:
    cells = (
        "<tr>" + "".join(f'<td align="left">{html.escape(cell)}</td>' for cell in line) + "</tr>"
        for line in lines
    )
    return "<table>" + "".join(cells) + "</table>"


def _image(figure: Figure, kind: str, text: str) -> str:
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=100)
    picture = Image.open(drawn).convert("RGB")
    if kind == "png":
        picture = picture.quantize(64)  # a quarter of the bytes
    picture.save(small, kind, quality=80, optimize=True)
    encoded = base64.b64encode(small.getvalue()).decode()
    return f'<p><img width="100%" alt="{text}" src="data:image/{kind};base64,{encoded}"></p>'


def _pictures(who: Person) -> Figure:
    """Rows of pictures: frames with landmarks, labels over frames, torso over background."""
    some = evenly_spaced(len(who), N_PICTURES)
    figure = Figure(figsize=(8.6, 4.4), layout="constrained")
    for t, column in zip(some, figure.subplots(3, len(some), squeeze=False).T, strict=True):
        torso = who.torso[t]
        column[0].imshow(who.frames[t])
        column[0].scatter(*who.landmarks2d[t].T, s=0.5, color="#50ff50")
        column[1].imshow((0.55 * who.frames[t] + 0.45 * LABEL_COLOURS[who.labels[t]]) / 255)
        column[2].imshow(np.where(torso[..., 3:] > 0, torso[..., :3], who.background))
        for axis in column:
            axis.set_axis_off()
    return figure


def _charts(who: Person) -> Figure:
    """Offset curve, head pose, mouth opening and the seconds of most shapes, shapes, pose leak."""
    report, time = who.report, np.arange(len(who)) / clip.FPS
    pitch, yaw, roll = euler_degrees(who.poses).T
    opening, width = mouth_shape(who.landmarks).T
    figure = Figure(figsize=(8.6, 9), layout="constrained")
    axes = figure.subplot_mosaic("aa;bb;cc;de")
    axes["a"].plot(report["offset_lags_s"], report["offset_curve"])
    axes["a"].axvline(report["offset_s"], color="C3")
    axes["a"].set(xlabel="lag in s; positive: the sound is late", ylabel="correlation")
    for name, angle in (("pitch", pitch), ("yaw", yaw), ("roll", roll)):
        axes["b"].plot(time, angle, label=name)
    axes["b"].legend(ncols=3, loc="upper right")
    axes["b"].set(xlabel="s", ylabel="degrees")
    axes["c"].plot(time, opening)
    for start in report["mouth_windows_s"]:
        axes["c"].axvspan(start, start + 1, alpha=0.2)
    axes["c"].set(xlabel="s; shaded: most mouth shapes", ylabel="opening, eye distances")
    axes["d"].scatter(width - np.median(width), opening, s=4)
    axes["d"].locator_params("x", nbins=5)
    axes["d"].set(xlabel="width against its median, eye distances", ylabel="opening")
    axes["e"].scatter(yaw, opening, s=4)
    axes["e"].set(xlabel="yaw, degrees", ylabel="opening")
    return figure
