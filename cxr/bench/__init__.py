"""Speed as ratios: ``speed`` beside other ways to the same images, ``start``, ``dataset_speed``."""
