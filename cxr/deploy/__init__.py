"""A Hugging Face Space of one's own from this checkout: what is uploaded, checked, shown, and sent."""
