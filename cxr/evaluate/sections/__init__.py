"""What a report consists of: one module for each question that it answers."""
