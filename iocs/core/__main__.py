"""``python -m labioc.iocs.core`` is the same as ``labioc``."""

from .cli import main

main()
