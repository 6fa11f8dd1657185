"""Render: rays through a field -> colour, opacity, depth. Knows nothing of faces.

`rendering.render_rays` is the entrance: it marches rays through an `occupancy.Occupancy`, asks the
field (a function of positions, directions and ray numbers) at the samples, and composites what it
says. Fields are built from `grid.GridEncoding`, `mlp.sh_encode` and `mlp.MLP`.
"""
