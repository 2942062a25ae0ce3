"""Request and model -> an iterator of progress and images."""
