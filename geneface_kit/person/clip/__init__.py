"""Clip: video and sound files -> 25 fps frames and 16 kHz mono sound, and back to mp4.

Reads any container PyAV reads; writes h264 + aac. Time zero is the first video frame.
"""

from geneface_kit.person.clip.audio import (
    Sound,
    beside_of,
    chosen_sound,
    in_step,
    is_silent,
    read_audio,
    sound_of,
    write_audio,
)
from geneface_kit.person.clip.container import FPS, SAMPLE_RATE, SAMPLES, SUFFIXES, Probe, probe
from geneface_kit.person.clip.video import stream_frames, write_video
