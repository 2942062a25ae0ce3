"""The Hugging Face Hub: files are fetched into its usual cache, checked, and found there without it."""
