"""The version, for the package, its metadata and the headers of weight files."""

__version__ = "0.1.0"
