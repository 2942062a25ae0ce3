"""A finished report -> JSON, Markdown, HTML, plots."""
