"""Ouvert runs open-weight reasoning models entirely on this machine and shows what they do."""

from importlib.metadata import version

__version__ = version("ouvert")
