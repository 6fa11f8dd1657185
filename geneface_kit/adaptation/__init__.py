"""Adaptation (stage 2): landmarks of any face -> landmarks of one person."""
