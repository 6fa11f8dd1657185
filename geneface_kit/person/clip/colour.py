"""Colour: a decoded frame of any matrix, range or transfer -> RGB of 8 bits as a screen shows it.

HDR is brought to SDR by what defines it: ITU-R BT.2100 (HLG, PQ), its reference white at 203 cd/m2
(BT.2408) as SDR's white, the primaries of BT.2020 to those of BT.709, a screen's gamma of 2.4
(BT.1886). What is brighter than white is white.
"""

import functools

import av
import numpy as np
from av.video.reformatter import Colorspace, ColorTrc, Interpolation
from jaxtyping import Float, UInt8

WHITE = 203.0  # luminance of reference white, cd/m2
HLG_PEAK, HLG_GAMMA = 1000.0, 1.2  # nominal HLG screen, cd/m2; its system gamma, of each channel
SCREEN_GAMMA = 2.4
FROM_2020 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)
"""Linear light of BT.2020's primaries -> of BT.709's."""
UNSPECIFIED = 2  # what a frame says of its matrix when it says nothing
HD = 720  # rows from which on a picture that does not say its matrix has that of BT.709, not BT.601


def to_rgb(frame: av.VideoFrame, width: int, height: int) -> UInt8[np.ndarray, "h w 3"]:
    """The frame in another size."""
    shrinks = width * height < frame.width * frame.height
    how = Interpolation.AREA if shrinks else Interpolation.BICUBIC
    options = {"width": width, "height": height, "interpolation": how}
    if frame.colorspace == UNSPECIFIED and frame.height >= HD:
        options["src_colorspace"] = Colorspace.ITU709
    if frame.color_trc in (ColorTrc.ARIB_STD_B67, ColorTrc.SMPTE2084):
        deep = frame.reformat(format="rgb48le", **options).to_ndarray()
        light = np.take(_light(int(frame.color_trc)), deep) @ FROM_2020.T
        return (255 * np.clip(light, 0, 1) ** (1 / SCREEN_GAMMA) + 0.5).astype(np.uint8)
    return frame.reformat(format="rgb24", **options).to_ndarray()


@functools.cache
def _light(transfer: int) -> Float[np.ndarray, " 65536"]:
    """Light on a screen of each code of 16 bits, reference white 1."""
    code = np.arange(65536) / 65535
    if transfer == ColorTrc.ARIB_STD_B67:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        scene = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
        light = HLG_PEAK * scene**HLG_GAMMA
    else:
        m1, m2 = 2610 / 16384, 2523 / 32
        c1, c2, c3 = 3424 / 4096, 2413 / 128, 2392 / 128
        power = code ** (1 / m2)
        light = 10_000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)
    return (light / WHITE).astype(np.float32)
