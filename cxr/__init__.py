"""CXR Studio: clinical text in, synthetic chest radiographs out."""

import os

from cxr.libraries import silence_known_remarks

# OpenMP reads these when torch is imported: waiting threads then sleep instead of spinning, which makes a small machine
# with other work on it up to 10 times faster. GNU's spin for some microseconds first (elsewhere nobody reads that):
# with two threads an image takes a fifth to a quarter less time, whether there is other work or not.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "passive"
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
silence_known_remarks()

__version__ = "1.4.0"
