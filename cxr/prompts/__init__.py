"""Free text: what it asks for, and what a model makes of it."""
