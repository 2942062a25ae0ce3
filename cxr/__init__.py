"""CXR Studio: clinical text in, synthetic chest radiographs out."""

import os

# OpenMP reads this when torch is imported: waiting threads then sleep instead of spinning, which makes a small machine
# with other work on it up to 10 times faster.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# transformers otherwise says in two lines at every start that torchvision, which nothing here needs, is absent.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

__version__ = "0.6.0"
