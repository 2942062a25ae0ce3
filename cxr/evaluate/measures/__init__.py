"""Features and pixels -> figures: one module for each question that a report answers."""
