"""The command line: python -m geneface_kit COMMAND."""

import sys

from geneface_kit.pipeline.commands import main

if __name__ == "__main__":
    sys.exit(main())
