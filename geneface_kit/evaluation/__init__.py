"""Evaluation: the paper's measures and tables, ours beside the published ones."""
