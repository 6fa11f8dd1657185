"""Segmentation: frames + person probability + landmarks -> labels, background, torso picture.

Labels: 0 background, 1 head (face, hair, ears), 2 neck, 3 torso, as the data processing of the
official code (from AD-NeRF) has them; by a person network and landmark geometry, or by a
face-parsing network when its weights are given.
"""
