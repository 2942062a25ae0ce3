"""Base models: the table of presets, architectures, the Hub, files, devices."""
