"""Findings and other labels: one record for a radiograph, labels as numbers, patients split apart."""
