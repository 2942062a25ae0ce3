"""Signatures that say where an image comes from, and what in a file says that it is synthetic."""
