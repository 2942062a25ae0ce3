"""Measures of generated radiographs."""
