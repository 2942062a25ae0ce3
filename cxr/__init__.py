"""CXR Studio: clinical text in, synthetic chest radiographs out."""

import os

from cxr.libraries import silence_known_remarks

# OpenMP reads this when torch is imported: waiting threads then sleep instead of spinning, which makes a small machine
# with other work on it up to 10 times faster.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
silence_known_remarks()

__version__ = "0.9.0"
