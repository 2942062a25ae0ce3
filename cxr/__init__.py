"""CXR Studio: clinical text in, synthetic chest radiographs out."""

import os

# OpenMP reads this when torch is imported: waiting threads then sleep. Spinning ones make a busy 2-core machine 10 times
# slower.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

__version__ = "0.1.0"
