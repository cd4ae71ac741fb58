"""Alembic's folder: ``env.py`` and the revisions, one file each under ``versions``."""

from pathlib import Path

FOLDER = Path(__file__).parent
