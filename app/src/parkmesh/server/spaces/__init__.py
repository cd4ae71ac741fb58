"""Levels, spaces, and what sensors say of them."""
