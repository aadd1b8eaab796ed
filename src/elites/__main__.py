"""`python -m elites`."""

from .cli import main

main()
