"""Fuzz: every reader of files is fed damaged ones, and every stage is killed; nothing is believed.

python -m geneface_kit fuzz --minutes 30
python -m geneface_kit fuzz --kills 6
"""
