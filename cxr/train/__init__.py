"""Training of the embedded model: autoencoder, then base, then LoRA."""
