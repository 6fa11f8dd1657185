"""Segmentation: frames + person probability + landmarks -> labels, background, torso picture.

Labels: 0 background, 1 head (face, hair, ears), 2 neck, 3 torso (GeneFace, arXiv:2301.13430,
section 4.1, and the official code's data processing), with a person network and landmark geometry
for the face parsing, or a face-parsing network when its weights are given.
"""
