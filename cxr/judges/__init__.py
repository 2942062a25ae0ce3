"""Small networks that read labels off radiographs, and their shipped weights."""
