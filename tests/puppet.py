"""A puppet: a tiny person of painted discs, for tests of head, torso and avatar."""

from pathlib import Path

import numpy as np

from geneface_kit.person import camera
from geneface_kit.person.artefact import Person
from geneface_kit.person.speech import Speech

SIZE, N_FRAMES, FOCAL = 32, 22, 52.0
SKIN, MOUTH, SHIRT, WALL = (210, 160, 120), (60, 10, 20), (40, 60, 160), (90, 110, 90)


def puppet() -> Person:
    """A face disc that moves a little; its dark mouth is open three frames, shut three frames."""
    time = np.arange(N_FRAMES)
    opening = np.where(time // 3 % 2 == 0, 0.6, 0.05).astype(np.float32)
    rotation = np.tile(np.eye(3, dtype=np.float32), (N_FRAMES, 1, 1))
    translation = np.stack([0.2 * np.sin(time), 0.1 * np.cos(time), -7.0 + 0 * time], -1)
    poses = camera.pose_from_head(rotation, translation.astype(np.float32))
    landmarks = faces(opening)
    seen = camera.project(landmarks, poses, FOCAL, SIZE)
    frames, labels, torso = (np.zeros((N_FRAMES, SIZE, SIZE, c), np.uint8) for c in (3, 1, 4))
    labels = labels[..., 0]
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    for t in range(N_FRAMES):
        centre = camera.project(np.array([[0, -0.1, -0.8]]), poses[t], FOCAL, SIZE)[0]
        labels[t, (rows > 26)] = 3
        labels[t][np.hypot(columns - centre[0], rows - centre[1]) < 9] = 1
        frames[t] = np.array([WALL, SKIN, SKIN, SHIRT], np.uint8)[labels[t]]
        lips = seen[t, [60, 64, 62, 66]]
        across = (columns > lips[0, 0]) & (columns < lips[1, 0])
        frames[t][across & (rows > lips[2, 1]) & (rows < lips[3, 1])] = MOUTH
        torso[t][rows > 22] = (*SHIRT, 255)
    low, high = seen.min(1), seen.max(1)
    mouth = seen[:, 48:]
    return Person(
        folder=Path("."),
        name="puppet",
        data_kind="synthetic",
        size=SIZE,
        focal=FOCAL,
        frames=frames,
        labels=labels,
        kinds=np.where(labels == 1, 1, 2).astype(np.uint8),
        torso=torso,
        background=np.full((SIZE, SIZE, 3), WALL, np.uint8),
        poses=poses,
        landmarks=landmarks,
        landmarks2d=seen.astype(np.float32),
        landmark_mean=landmarks.mean(0),
        landmark_std=landmarks.std(0),
        face_rects=np.concatenate([low, high], -1).round().astype(int),
        lip_rects=np.concatenate([mouth.min(1) - 1, mouth.max(1) + 1], -1).round().astype(int),
        found=np.ones(N_FRAMES, bool),
        speech=Speech(
            np.zeros((2 * N_FRAMES, 4), np.float32),
            "hama",
            np.zeros(2 * N_FRAMES, np.float32),
            np.zeros((2 * N_FRAMES, 80), np.float32),
        ),
        audio=np.zeros(640 * N_FRAMES, np.float32),
        n_train=10 * N_FRAMES // 11,
        report={},
    )


def faces(opening: np.ndarray) -> np.ndarray:
    """(t, 68, 3) landmarks whose inner lips are `opening` (t,) apart; the rest stands still."""
    points = np.zeros((len(opening), 68, 3), np.float32)
    angle = np.linspace(np.pi, 2 * np.pi, 17)
    points[:, :17, 0], points[:, :17, 1] = np.cos(angle), 1.2 * np.sin(angle)
    points[:, 36, 0], points[:, 45, 0] = -0.5, 0.5
    points[:, 48:, 1] = -0.7
    points[:, 48:, 2] = 0.2
    points[:, [48, 60], 0], points[:, [54, 64], 0] = -0.35, 0.35
    points[:, 49:54, 0] = np.linspace(-0.33, 0.33, 5)
    points[:, 55:60, 0] = np.linspace(0.33, -0.33, 5)
    points[:, 61:64, 0], points[:, 65:68, 0] = (-0.33, 0, 0.33), (0.33, 0, -0.33)
    points[:, 61:64, 1] += opening[:, None] / 2
    points[:, 65:68, 1] -= opening[:, None] / 2
    points[:, 49:54, 1] += opening[:, None] / 2 + 0.05
    points[:, 55:60, 1] -= opening[:, None] / 2 + 0.05
    return points
