"""What files say of every image: that it is synthetic, in words and in IPTC's terms."""

from __future__ import annotations

SYNTHETIC_NOTICE = "Synthetic images, made by a generative model. Not for diagnosis."
DERIVED_NOTICE = f"Derived from a picture. {SYNTHETIC_NOTICE}"
_IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype"
DIGITAL_SOURCE_TYPE = f"{_IPTC}/trainedAlgorithmicMedia"
# Of images that begin from a picture, whose own origin is unknown.
COMPOSITE_SOURCE_TYPE = f"{_IPTC}/compositeWithTrainedAlgorithmicMedia"
