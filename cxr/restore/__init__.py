"""A picture that this program made -> the recipe in it, whatever else the file may be."""
