"""Nerf (stage 3): landmarks of one person -> pictures of that person."""
