"""Work for pools in tests: importable by name, so that other processes can find it."""

import os
import signal
import time
from pathlib import Path


def work(item: Path) -> None:
    """Writes the item's file, or dies, hangs or fails when its name says so."""
    if item.stem == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if item.stem == "leaves":
        os._exit(7)
    if item.stem == "hangs":
        time.sleep(1000)
    if item.stem == "fails":
        raise FileNotFoundError("the weights are not there")
    item.write_text(str(os.getpid()))


def count_threads(item: Path) -> None:
    """Writes how many threads torch and OpenCV use here."""
    import cv2
    import torch

    item.write_text(f"{torch.get_num_threads()} {cv2.getNumThreads()}")
