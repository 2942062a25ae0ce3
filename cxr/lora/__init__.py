"""LoRA files: found, checked before anything is changed, described, converted, and put into a pipeline."""
