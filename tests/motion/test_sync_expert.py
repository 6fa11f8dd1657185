"""Sync expert: pairs are what they say, losses cross-entropies, training tells in from out."""

import math

import numpy as np
import pytest
import torch

from geneface_kit.motion import losses, sync_expert
from geneface_kit.person.corpus import Sequences, Utterance
from geneface_kit.person.speech import Speech


def numbered_batch(lengths=(40, 60, 50), clips=(0, 1, 1)) -> Sequences:
    """Speech step s of piece p is [p, s]; frame t of piece p is all 100 p + t."""
    longest = max(lengths)
    speech = torch.zeros(len(lengths), 2 * longest, 2)
    motion = torch.zeros(len(lengths), longest, 204)
    for piece in range(len(lengths)):
        speech[piece, :, 0], speech[piece, :, 1] = piece, torch.arange(2 * longest)
        motion[piece] = 100 * piece + torch.arange(longest)[:, None]
    mask = torch.arange(longest)[None] < torch.tensor(lengths)[:, None]
    return Sequences(speech, torch.zeros(speech.shape[:2]), motion, mask, torch.tensor(clips))


def drawn_pairs(batch: Sequences, n: int = 4000):
    pairs = sync_expert.draw_pairs(batch, n, torch.Generator().manual_seed(0))
    mouth_piece, mouth_frame = pairs.mouth[:, 0, 0] // 100, pairs.mouth[:, 0, 0] % 100
    speech_piece, speech_frame = pairs.speech[:, 0, 0], pairs.speech[:, 0, 1] / 2
    return pairs, mouth_piece, mouth_frame, speech_piece, speech_frame


def test_every_kind_of_pair_is_what_it_says():
    batch = numbered_batch()
    pairs, mouth_piece, mouth_frame, speech_piece, speech_frame = drawn_pairs(batch)
    gap = (speech_frame - mouth_frame).abs()
    same = pairs.kind == 0
    assert torch.equal(pairs.label == 1, same)
    assert (gap[same] == 0).all() and (mouth_piece == speech_piece)[same].all()
    other = pairs.kind == 1
    clips = batch.clips[mouth_piece.long()] != batch.clips[speech_piece.long()]
    assert clips[other].all()
    elsewhere, shifted = pairs.kind == 2, pairs.kind == 3
    assert (mouth_piece == speech_piece)[elsewhere | shifted].all()
    assert (gap[elsewhere] >= 2).all() and gap[elsewhere].max() > 20
    assert set(gap[shifted].tolist()) == {2.0, 3.0, 4.0, 5.0}
    shares = [(pairs.kind == kind).float().mean().item() for kind in range(4)]
    # standard error of a share of 4000 draws is at most 0.008
    assert shares == pytest.approx([0.5, 0.125, 0.1875, 0.1875], abs=0.03)


def test_windows_stay_inside_the_mask():
    batch = numbered_batch()
    pairs, mouth_piece, mouth_frame, speech_piece, speech_frame = drawn_pairs(batch)
    lengths = torch.tensor([40, 60, 50])
    assert (mouth_frame + 5 <= lengths[mouth_piece.long()]).all()
    assert (speech_frame + 5 <= lengths[speech_piece.long()]).all()
    assert pairs.speech.shape[1:] == (10, 2) and pairs.mouth.shape[1:] == (5, 60)


def test_one_clip_has_no_foreign_negatives():
    pairs, *_ = drawn_pairs(numbered_batch(clips=(7, 7, 7)))
    assert not (pairs.kind == 1).any() and (pairs.kind == 2).any()


def test_too_short_pieces_are_refused():
    with pytest.raises(ValueError, match="too short for shifts"):
        sync_expert.draw_pairs(numbered_batch(lengths=(12, 60, 50)), 8, torch.Generator())


def test_loss_is_the_cross_entropy():
    loss = losses.sync_expert_loss(torch.tensor([0.5, 0.25]), torch.tensor([1.0, 0.0]))
    assert loss.item() == pytest.approx((math.log(2) - math.log(0.75)) / 2)
    assert torch.isfinite(
        losses.sync_expert_loss(torch.tensor([1.0001, 0.0]), torch.tensor([0.0, 1.0]))
    )


def test_lips_are_points_48_to_67():
    motion = torch.arange(204.0).reshape(1, 1, 204)
    assert sync_expert.lips(motion).flatten().tolist() == list(range(144, 204))


def synthetic_part(n_clips: int = 4, n_frames: int = 120):
    """Clips whose mouth follows one speech channel exactly."""
    draw = np.random.default_rng(0)
    utterances, motions = [], []
    for clip in range(n_clips):
        tone = np.convolve(draw.standard_normal(n_frames + 4), np.ones(3) / 2, "same")[:n_frames]
        features = np.repeat(tone, 2)[:, None] * np.ones((1, 3)) + 0.05 * draw.standard_normal(
            (2 * n_frames, 3)
        )
        speech = Speech(
            features.astype(np.float32),
            "test",
            np.zeros(2 * n_frames, np.float32),
            np.zeros((2 * n_frames, 80), np.float32),
        )
        motion = np.zeros((n_frames, 204), np.float32)
        motion[:, 144:] = tone[:, None]
        name = f"clip{clip}"
        points = motion.reshape(-1, 68, 3)
        utterances.append(Utterance(name, name, name, speech, points))
        motions.append(motion)
    return utterances, motions


@pytest.mark.slow
def test_training_tells_in_sync_from_out_of_sync():
    part = synthetic_part()
    config = sync_expert.SyncConfig(width=8, steps=60, pairs=64, lr=3e-3, dropout=0.0)
    torch.manual_seed(0)
    expert = sync_expert.SyncExpert(3, width=8)
    task = sync_expert.SyncTask(expert, part, part, config)
    draw = torch.Generator().manual_seed(0)
    expert.train()
    losses = [task.step(index, draw)["loss"] for index in range(60)]
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])
    expert.eval()
    assert task.validate(60)["held_out_accuracy"] > 0.65


def test_official_size():
    expert = sync_expert.SyncExpert(1024, width=128)
    assert sum(p.numel() for p in expert.parameters()) == 9_304_352  # of the official code
