"""``python -m parkmesh``: what a release's launcher runs."""

from parkmesh.cli import main

main()
