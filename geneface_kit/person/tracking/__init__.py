"""Tracking: face meshes -> head pose, one focal length, pose-free landmarks in the head frame."""
