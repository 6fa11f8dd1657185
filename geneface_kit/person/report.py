"""Report: one page about a prepared person: verdict, what to do, and what it rests on.

The page is HTML with its pictures inside; it loads nothing and runs no script.
"""

import base64
import html
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from geneface_kit.person import charts, clip, quality
from geneface_kit.person.artefact import Person
from geneface_kit.person.files import evenly_spaced
from geneface_kit.person.mouth import mouth_shape
from geneface_kit.person.tracking.diagnostics import euler_degrees

__all__ = ["LAYER_COLOURS", "page", "panels", "rows"]

LAYER_COLOURS = np.array([[40, 40, 48], [230, 140, 90], [240, 210, 80], [80, 130, 200]], np.uint8)
"""Colour of background, head, neck and torso in pictures of labels."""

N_PICTURES = 6
VERDICT_COLOURS = {"good": "#1b7f3b", "usable": "#a06a00", "not usable": "#b3261e"}
STYLE = """
.gfk{font:15px/1.5 system-ui,sans-serif;color:#1c1c1e;background:#fff;max-width:860px;
margin:0 auto;padding:16px}
.gfk h1{font-size:24px;margin:0 0 4px}.gfk h2{font-size:17px;margin:26px 0 6px}
.gfk table{border-collapse:collapse;width:100%;color:#1c1c1e}
.gfk td{border-top:1px solid #e3e3e6;padding:4px 10px 4px 0;vertical-align:top}
.gfk td,.gfk tr{text-align:left!important;background:#fff!important}
.gfk td:first-child{width:30%;color:#55555c}.gfk td:nth-child(2){width:27%}
.gfk td:last-child{color:#55555c}
.gfk img{max-width:100%;display:block;margin:6px 0}.gfk li{margin:3px 0}
.gfk .verdict{display:inline-block;color:#fff;border-radius:4px;padding:2px 10px;font-weight:600}
.gfk .small{color:#55555c;font-size:13px}
"""


def page(who: Person) -> str:
    """The report as a whole HTML document."""
    title = html.escape(f"{who.name}: report")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{title}</title></head>\n'
        f'<body style="margin:0;background:#fff">\n{panels(who)}\n</body></html>\n'
    )


def panels(who: Person) -> str:
    """The report as an HTML fragment, for a notebook's cell."""
    report = who.report
    parts = [
        f"<style>{STYLE}</style>",
        '<div class="gfk">',
        _heading(who),
        _list("What to do", report["reasons"], "Nothing stands in the way."),
        _list("What was found or repaired on the way", report["warnings"], "Nothing."),
        f"<h2>What to expect</h2><p>{html.escape(quality.expectation(report))}</p>",
        "<h2>Frames, segmentation, torso picture</h2>",
        *(_picture(strip, text) for text, strip in _strips(who)),
        f'<p class="small">{PICTURE_TEXT}</p>',
        *(f"<h2>{title}</h2>{figure}" for title, figure in _figures(who)),
        "<h2>All measures</h2>",
        _table(rows(report)),
        "</div>",
    ]
    return "\n".join(parts)


PICTURE_TEXT = (
    "Dots: the 68 landmarks. Colours: head orange, neck yellow, torso blue. Last row: the torso "
    "painted on behind the chin, over the background."
)


def rows(report: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(measure, value, what it means) for every line of the report's table."""
    angles = report["pose_degrees"]
    leak, smooth = report["pose_leak"], report["smoothing"]
    source, confidence = report["source"], report["offset_confidence"]
    windows = ", ".join(f"{start:.1f}" for start in sorted(report["mouth_windows_s"]))
    still = report["background_still_frame"] >= 0
    how_background = "one moment is kept, the medoid" if still else "put together from all moments"
    return [
        ("source", f"{source['width']} x {source['height']}, {source['fps']:g} fps", ""),
        ("taken", _spans([report["span_s"]]), "the longest usable stretch"),
        ("usable stretches", _spans(report["spans_s"]), "one face, gaps of at most 0.4 s, no cut"),
        ("cuts", ", ".join(f"{t:.2f} s" for t in report["cuts_s"]) or "none", ""),
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


def _spans(spans: list[list[float]]) -> str:
    return ", ".join(f"{start:.2f} to {stop:.2f} s" for start, stop in spans)


def _background_text(still: int) -> str:
    return (
        "the background is put together"
        if still < 0
        else "the background is one moment, the medoid"
    )


def _heading(who: Person) -> str:
    report = who.report
    kind = "synthetic" if who.data_kind == "synthetic" else "real"
    colour = VERDICT_COLOURS[report["verdict"]]
    return (
        f"<h1>{html.escape(who.name)} <span class='small'>({kind} person)</span></h1>"
        f'<p><span class="verdict" style="background:{colour}">{report["verdict"]}</span> '
        f"{report['seconds']:.1f} s, {len(who)} frames of {who.size} x {who.size} pixels</p>"
    )


def _list(title: str, items: list[str], otherwise: str) -> str:
    if not items:
        return f"<h2>{title}</h2><p>{otherwise}</p>"
    lines = "".join(f"<li>{html.escape(item[:1].upper() + item[1:])}.</li>" for item in items)
    return f"<h2>{title}</h2><ul>{lines}</ul>"


def _table(lines: list[tuple[str, str, str]]) -> str:
    cells = (
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in line) + "</tr>"
        for line in lines
    )
    return "<table>" + "".join(cells) + "</table>"


def _picture(picture: UInt8[np.ndarray, "h w 3"], text: str) -> str:
    done, data = cv2.imencode(
        ".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80]
    )
    if not done:
        raise OSError("OpenCV could not encode a picture of the report")
    encoded = base64.b64encode(data.tobytes()).decode()
    return f'<img alt="{html.escape(text)}" src="data:image/jpeg;base64,{encoded}">'


def _strips(who: Person) -> list[tuple[str, np.ndarray]]:
    """Rows of pictures: frames with landmarks, labels over frames, torso over background."""
    frames, labels, torsos = [], [], []
    for t in evenly_spaced(len(who), N_PICTURES):
        frame, torso = np.array(who.frames[t]), np.array(who.torso[t])
        dotted = frame.copy()
        for x, y in who.landmarks2d[t].round().astype(int):
            cv2.circle(dotted, (int(x), int(y)), max(0, who.size // 200), (80, 255, 80), -1)
        frames.append(dotted)
        mixed = 0.55 * frame + 0.45 * LAYER_COLOURS[who.labels[t]]
        labels.append(mixed.astype(np.uint8))
        torsos.append(np.where(torso[..., 3:] > 0, torso[..., :3], who.background))
    named = {"frames": frames, "labels": labels, "torso pictures": torsos}
    return [(name, _row(pictures)) for name, pictures in named.items()]


def _row(pictures: list[np.ndarray], side: int = 140) -> np.ndarray:
    small = [cv2.resize(p, (side, side), interpolation=cv2.INTER_AREA) for p in pictures]
    return np.concatenate(small, axis=1)


def _figures(who: Person) -> list[tuple[str, str]]:
    report = who.report
    time = np.arange(len(who)) / clip.FPS
    pitch, yaw, roll = euler_degrees(who.poses).T
    mouth = mouth_shape(who.landmarks)
    windows = [(start, start + 1.0) for start in report["mouth_windows_s"]]
    found = report["offset_s"]
    return [
        (
            "Sound against lips",
            charts.lines(
                np.array(report["offset_lags_s"]),
                {"correlation": np.array(report["offset_curve"])},
                x_label="lag in s; positive: the sound is late",
                marks=[found],
            ),
        ),
        (
            "Head pose",
            charts.lines(
                time, {"pitch": pitch, "yaw": yaw, "roll": roll}, x_label="s", y_label="degrees"
            ),
        ),
        (
            "Mouth opening, and the seconds that show most mouth shapes",
            charts.lines(
                time,
                {"opening": mouth[:, 0]},
                x_label="s",
                y_label="eye distances",
                bands=windows,
            ),
        ),
        (
            "Mouth shapes",
            charts.points(
                mouth[:, 1] - np.median(mouth[:, 1]),
                mouth[:, 0],
                x_label="width against its median, eye distances",
                y_label="opening",
            ),
        ),
        (
            "Is the face free of the pose?",
            charts.points(yaw, mouth[:, 0], x_label="yaw, degrees", y_label="opening"),
        ),
    ]
