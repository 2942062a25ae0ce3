"""Speed as ratios, measured in one run: ``defaults`` for this machine, ``gpu`` against plain diffusers on a GPU."""
