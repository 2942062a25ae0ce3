"""LoRAs for full-size models: Stable Diffusion 1.x, 2.x and XL in diffusers' folder format."""
