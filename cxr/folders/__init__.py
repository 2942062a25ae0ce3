"""Folders and files of image sets: written, continued, read again, packed."""
