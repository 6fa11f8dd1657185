"""Film: frames and sound -> an mp4 (h264 + aac), never held in memory as a whole."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import Float, UInt8

from geneface_kit.person.clip.media import FPS, SAMPLE_RATE
from geneface_kit.person.clip.sound import sound_frame
from geneface_kit.runs import replacing

__all__ = ["write_video"]


def write_video(
    path: Path | str,
    frames: Iterable[UInt8[np.ndarray, "h w 3"]],
    audio: Float[np.ndarray, " n"] | None = None,
    *,
    metadata: dict[str, str] | None = None,
    crf: int = 18,
) -> int:
    """Write an mp4 (h264 yuv420p, aac, 25 fps, index first) and give its number of frames.

    frames: an iterable, so a video is never held in memory; odd sizes grow by one pixel.
    audio: mono 16 kHz, starting with the first frame. metadata: text tags of the file.
    The file appears under its name only when it is complete.
    """
    path = Path(path)
    flags = {"movflags": "+faststart+use_metadata_tags"}
    n_frames = 0
    with replacing(path) as partial:
        with av.open(str(partial), "w", format="mp4", options=flags) as container:
            container.metadata.update(metadata or {})
            video = sound = None
            for picture in frames:
                if video is None:
                    video = _add_video_stream(container, picture, crf)
                    if audio is not None and len(audio):
                        sound = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
                        sound.bit_rate = 96_000
                frame = av.VideoFrame.from_ndarray(_even(picture), format="rgb24")
                frame.pts, frame.time_base = n_frames, Fraction(1, FPS)
                container.mux(video.encode(frame))
                n_frames += 1
                if sound is not None:
                    _write_sound(container, sound, audio, n_frames - 1, n_frames)
            if video is None:
                raise ValueError(f"no frames to write to {path}")
            if sound is not None:
                _write_sound(container, sound, audio, n_frames, None)
                container.mux(sound.encode(None))
            container.mux(video.encode(None))
    return n_frames


def _add_video_stream(container, picture: np.ndarray, crf: int):
    stream = container.add_stream("libx264", rate=FPS, options={"crf": str(crf)})
    stream.height, stream.width = _even(picture).shape[:2]
    stream.pix_fmt = "yuv420p"
    return stream


def _even(picture: np.ndarray) -> np.ndarray:
    """The picture with even sides: the last row or column is repeated if need be."""
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _write_sound(container, stream, audio: np.ndarray, frame: int, end: int | None) -> None:
    """Encode the sound of frames [frame, end); end None: all that is left."""
    per_frame = SAMPLE_RATE // FPS
    start, stop = frame * per_frame, len(audio) if end is None else end * per_frame
    piece = np.asarray(audio[start:stop], np.float32)[None]
    if piece.size:
        container.mux(stream.encode(sound_frame(piece, "fltp", start)))
