"""Colours: the same few in every figure."""

__all__ = ["BLUE", "GREEN", "GREY", "INK", "PALE", "RED", "YELLOW"]

INK, GREY, PALE = "#1d2733", "#8a94a0", "#dfe5ea"
BLUE, RED, YELLOW, GREEN = "#2f6db5", "#c8442f", "#e2a100", "#3d8f5f"
