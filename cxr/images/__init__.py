"""Pixels: the only place that changes range, depth, channels or size; PNG with its recipe; third parties' pictures."""
