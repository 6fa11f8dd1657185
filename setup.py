"""What is installed: geneface_kit, and figures/ by the name it is imported by."""

from setuptools import find_namespace_packages, setup

setup(
    packages=[*find_namespace_packages(include=["geneface_kit*"]), "geneface_kit_figures"],
    package_dir={"geneface_kit_figures": "figures"},
)
