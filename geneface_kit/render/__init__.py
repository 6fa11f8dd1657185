"""Render: rays through a field -> colour, opacity, depth, by `rendering`. Knows no faces."""
