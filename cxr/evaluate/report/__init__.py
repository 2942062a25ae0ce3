"""A finished evaluation -> JSON, Markdown, HTML, plots."""
