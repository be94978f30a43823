"""A telephone hotline for social insurance: dial in, speak Mandarin, get served, offline."""

__version__ = "0.1.0"
