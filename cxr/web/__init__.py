"""The web page and its programming interface; the only package that imports gradio."""
